using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Firmware.Monitor;

/// <summary>The monitor's commands. Each is entered with RBX at its arguments and jumps back to the prompt.</summary>
internal sealed partial class MonitorCode
{
    private const string Help =
        "help       this list\n" +
        "mem        the memory map as the loader gave it\n" +
        "cpuid      the processor\n" +
        "ticks      timer interrupts so far, 100 each second\n" +
        "time       the date and time of the real-time clock\n" +
        "echo TEXT  prints TEXT\n" +
        "halt       powers off\n";

    private void Commands(Label prompt)
    {
        var commands = new (string Name, Label Label, Action Body)[]
        {
            ("help", _a.CreateLabel(), () => Print(Help)),
            ("mem", _a.CreateLabel(), Mem),
            ("cpuid", _a.CreateLabel(), Cpuid),
            ("ticks", _a.CreateLabel(), Ticks),
            ("time", _a.CreateLabel(), Time),
            ("echo", _a.CreateLabel(), Echo),
            ("halt", _a.CreateLabel(), Halt),
        };
        foreach ((string name, Label label, _) in commands)
        {
            _a.lea(rsi, __[Text(name)]);
            _a.call(_match);
            _a.je(label);
        }
        // RBX has skipped leading blanks: an empty line is no command and no mistake.
        _a.cmp(__byte_ptr[rbx], 0);
        _a.je(prompt);
        Print("unknown command; type help\n");
        _a.jmp(prompt);
        foreach ((_, Label label, Action body) in commands)
        {
            Label here = label;
            _a.Label(ref here);
            body();
            _a.jmp(prompt);
        }
        Match();
    }

    /// <summary>ZF = the line's first word is the string at RSI; then RBX is at the text after it, else at the first word.</summary>
    private void Match()
    {
        Label blank = _a.CreateLabel();
        Label compare = _a.CreateLabel();
        Label wordEnd = _a.CreateLabel();
        Label skip = _a.CreateLabel();
        Label done = _a.CreateLabel();
        _a.Label(ref _match);
        _a.mov(ebx, (uint)MonitorMemory.Line - 1);
        _a.Label(ref blank);
        _a.inc(rbx);
        _a.cmp(__byte_ptr[rbx], (sbyte)' ');
        _a.je(blank);
        _a.mov(rdi, rbx);
        _a.Label(ref compare);
        _a.lodsb();
        _a.test(al, al);
        _a.jz(wordEnd);
        _a.cmp(al, __byte_ptr[rdi]);
        _a.jne(done);
        _a.inc(rdi);
        _a.jmp(compare);
        _a.Label(ref wordEnd);
        _a.cmp(__byte_ptr[rdi], 0);
        Label matched = _a.CreateLabel();
        _a.je(matched);
        _a.cmp(__byte_ptr[rdi], (sbyte)' ');
        _a.jne(done);
        _a.Label(ref skip);
        _a.inc(rdi);
        _a.cmp(__byte_ptr[rdi], (sbyte)' ');
        _a.je(skip);
        _a.cmp(al, al);
        _a.Label(ref matched);
        _a.mov(rbx, rdi);
        _a.Label(ref done);
        _a.ret();
    }

    private void Hex(int digits)
    {
        _a.mov(ecx, digits);
        _a.call(_putHex);
    }

    private void Mem()
    {
        Label none = _a.CreateLabel();
        Label next = _a.CreateLabel();
        Label done = _a.CreateLabel();
        Label reserved = _a.CreateLabel();
        Label typed = _a.CreateLabel();
        _a.mov(ebx, __dword_ptr[MonitorMemory.BootInformation]);
        _a.test(__dword_ptr[rbx], 1 << 6);
        _a.jz(none);
        _a.mov(edi, __dword_ptr[rbx + 48]);
        _a.mov(ebx, __dword_ptr[rbx + 44]);
        _a.add(ebx, edi);
        _a.xor(r8d, r8d);
        _a.Label(ref next);
        _a.cmp(edi, ebx);
        _a.jae(done);
        _a.mov(rax, __qword_ptr[rdi + 4]);
        Hex(16);
        Print("-");
        _a.mov(rax, __qword_ptr[rdi + 4]);
        _a.add(rax, __qword_ptr[rdi + 12]);
        _a.dec(rax);
        Hex(16);
        _a.cmp(__dword_ptr[rdi + 20], 1);
        _a.jne(reserved);
        _a.add(r8, __qword_ptr[rdi + 12]);
        Print(" RAM\n");
        _a.jmp(typed);
        _a.Label(ref reserved);
        Print(" reserved, type ");
        _a.mov(eax, __dword_ptr[rdi + 20]);
        _a.call(_putDecimal);
        Print("\n");
        _a.Label(ref typed);
        _a.mov(eax, __dword_ptr[rdi]);
        _a.lea(edi, __[rdi + rax + 4]);
        _a.jmp(next);
        _a.Label(ref done);
        _a.mov(rax, r8);
        _a.shr(rax, 10);
        _a.call(_putDecimal);
        Print(" KiB of RAM\n");
        Label end = _a.CreateLabel();
        _a.jmp(end);
        _a.Label(ref none);
        Print("the loader gave no memory map\n");
        _a.Label(ref end);
        _a.nop();
    }

    private void Cpuid()
    {
        Label noBrand = _a.CreateLabel();
        Label leaf = _a.CreateLabel();
        // The text is put together where the command line was.
        Print("vendor ");
        _a.xor(eax, eax);
        _a.cpuid();
        _a.mov(__dword_ptr[MonitorMemory.Line], ebx);
        _a.mov(__dword_ptr[MonitorMemory.Line + 4], edx);
        _a.mov(__dword_ptr[MonitorMemory.Line + 8], ecx);
        _a.mov(__byte_ptr[MonitorMemory.Line + 12], 0);
        _a.mov(esi, (uint)MonitorMemory.Line);
        _a.call(_putString);
        Print("\n");
        _a.mov(eax, 0x8000_0000);
        _a.cpuid();
        _a.cmp(eax, 0x8000_0004u);
        _a.jb(noBrand);
        _a.mov(edi, (uint)MonitorMemory.Line);
        _a.mov(r8d, 0x8000_0002);
        _a.Label(ref leaf);
        _a.mov(eax, r8d);
        _a.cpuid();
        _a.mov(__dword_ptr[rdi], eax);
        _a.mov(__dword_ptr[rdi + 4], ebx);
        _a.mov(__dword_ptr[rdi + 8], ecx);
        _a.mov(__dword_ptr[rdi + 12], edx);
        _a.add(rdi, 16);
        _a.inc(r8d);
        _a.cmp(r8d, 0x8000_0005u);
        _a.jne(leaf);
        _a.mov(__byte_ptr[rdi], 0);
        Print("brand  ");
        _a.mov(esi, (uint)MonitorMemory.Line);
        _a.call(_putString);
        Print("\n");
        _a.Label(ref noBrand);
        _a.mov(eax, 1);
        _a.cpuid();
        _a.mov(r8d, eax);
        _a.mov(r9d, ecx);
        _a.mov(r10d, edx);
        void Item(string name, AssemblerRegister32 register)
        {
            Print(name);
            _a.mov(eax, register);
            Hex(8);
        }
        Item("leaf 1 eax ", r8d);
        Item(" ebx ", ebx);
        Item(" ecx ", r9d);
        Item(" edx ", r10d);
        Print("\n");
    }

    private void Ticks()
    {
        _a.mov(rax, __qword_ptr[MonitorMemory.Ticks]);
        _a.call(_putDecimal);
        Print("\n");
    }

    /// <summary>The RTC's registers, as they come in BCD or made so (MC146818 data sheet).</summary>
    private void Time()
    {
        Label read = _a.CreateLabel();
        Label next = _a.CreateLabel();
        Label begin = _a.CreateLabel();
        Label isBcd = _a.CreateLabel();
        _a.jmp(begin);

        // Register AL to AL.
        _a.Label(ref read);
        _a.@out((byte)BoardLayout.RtcPort, al);
        _a.@in(al, (byte)(BoardLayout.RtcPort + 1));
        _a.ret();

        // Prints register AL as two digits; R8B is register B.
        _a.Label(ref next);
        _a.call(read);
        _a.test(r8b, 4);
        _a.jz(isBcd);
        _a.movzx(eax, al);
        _a.mov(ecx, 10);
        _a.xor(edx, edx);
        _a.div(ecx);
        _a.shl(eax, 4);
        _a.or(eax, edx);
        _a.Label(ref isBcd);
        _a.mov(ecx, 2);
        _a.jmp(_putHex);

        _a.Label(ref begin);
        _a.mov(al, 0xB);
        _a.call(read);
        _a.mov(r8d, eax);
        // Not while an update is under way. All ones: nothing answers.
        Label busy = _a.CreateLabel();
        Label present = _a.CreateLabel();
        Label end = _a.CreateLabel();
        _a.Label(ref busy);
        _a.mov(al, 0xA);
        _a.call(read);
        _a.cmp(al, -1);
        _a.jne(present);
        Print("there is no real-time clock\n");
        _a.jmp(end);
        _a.Label(ref present);
        _a.test(al, 0x80);
        _a.jnz(busy);
        foreach ((byte register, string after) in new (byte, string)[]
        {
            (BoardLayout.RtcCenturyRegister, ""), (9, "-"), (8, "-"), (7, " "), (4, ":"), (2, ":"), (0, "\n"),
        })
        {
            _a.mov(al, register);
            _a.call(next);
            if (after.Length != 0)
            {
                Print(after);
            }
        }
        _a.Label(ref end);
        _a.nop();
    }

    private void Echo()
    {
        _a.mov(rsi, rbx);
        _a.call(_putString);
        Print("\n");
    }

    /// <summary>Soft off: by this board's sleep type, then by type 0 as QEMU's boards have it.</summary>
    private void Halt()
    {
        Label stop = _a.CreateLabel();
        Print("powering off\n");
        _a.mov(edx, BoardLayout.Pm1aControlPort);
        _a.mov(eax, BoardLayout.SleepEnable | (BoardLayout.SleepTypeSoftOff << 10));
        _a.@out(dx, ax);
        _a.mov(eax, BoardLayout.SleepEnable);
        _a.@out(dx, ax);
        _a.Label(ref stop);
        _a.cli();
        _a.hlt();
        _a.jmp(stop);
    }
}
