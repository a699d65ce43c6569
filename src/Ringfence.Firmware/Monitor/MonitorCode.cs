using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Firmware.Monitor;

/// <summary>The monitor's 64-bit part: start-up, interrupts, the console and its line editor. Commands are in the other half.</summary>
internal sealed partial class MonitorCode
{
    private const ushort Com1 = BoardLayout.Com1Port;
    private const ushort LineStatus = Com1 + 5;
    private const byte TimerVector = 0x20;
    private const byte SerialVector = TimerVector + BoardLayout.Com1Interrupt;
    private const byte EndOfInterrupt = 0x20;
    private const int TimerHertz = 100;
    private const int PitHertz = 1_193_182;

    private readonly Assembler _a = new(64);
    private readonly List<(Label Label, string Text)> _strings = [];
    private Label _putCharacter;
    private Label _putString;
    private Label _putHex;
    private Label _putDecimal;
    private Label _getCharacter;
    private Label _drain;
    private Label _readLine;
    private Label _match;

    public Assembler Build()
    {
        _putCharacter = _a.CreateLabel();
        _putString = _a.CreateLabel();
        _putHex = _a.CreateLabel();
        _putDecimal = _a.CreateLabel();
        _getCharacter = _a.CreateLabel();
        _drain = _a.CreateLabel();
        _readLine = _a.CreateLabel();
        _match = _a.CreateLabel();
        Label interrupts = _a.CreateLabel();
        Label loop = _a.CreateLabel();

        _a.call(interrupts);
        InitialiseDevices();
        _a.sti();
        Print(EmbeddedGuest.Banner + "\nType help for the commands.\n");
        _a.Label(ref loop);
        Print(EmbeddedGuest.Prompt);
        _a.call(_readLine);
        Commands(loop);

        Interrupts(interrupts);
        Output();
        Input();
        foreach ((Label label, string text) in _strings)
        {
            Label here = label;
            _a.Label(ref here);
            _a.db([.. Encoding.ASCII.GetBytes(text), 0]);
        }
        return _a;
    }

    /// <summary>Prints a constant. Clobbers RAX and RSI.</summary>
    private void Print(string text)
    {
        _a.lea(rsi, __[Text(text)]);
        _a.call(_putString);
    }

    private Label Text(string text)
    {
        Label label = _a.CreateLabel();
        _strings.Add((label, text));
        return label;
    }

    private void OutByte(ushort port, byte value)
    {
        _a.mov(edx, port);
        _a.mov(al, value);
        _a.@out(dx, al);
    }

    private void InitialiseDevices()
    {
        // Virtual wire mode (SDM 3A 11.5.1, MP 1.4 §3.6.2.2), where no firmware has set it up: local APIC on, LINT0 takes the 8259 pair.
        const uint SpuriousVectorEnabled = 0x1FF;
        const uint ExternalInterrupt = 0x700;
        _a.mov(ecx, (uint)BoardLayout.LocalApicBase);
        _a.mov(__dword_ptr[rcx + 0xF0], SpuriousVectorEnabled);
        _a.mov(__dword_ptr[rcx + 0x350], ExternalInterrupt);
        // The 8259 pair at vectors 0x20 to 0x2F, only the timer and COM1 unmasked.
        OutByte(0x20, 0x11);
        OutByte(0xA0, 0x11);
        OutByte(0x21, TimerVector);
        OutByte(0xA1, TimerVector + 8);
        OutByte(0x21, 4);
        OutByte(0xA1, 2);
        OutByte(0x21, 1);
        OutByte(0xA1, 1);
        OutByte(0x21, 0xFF & ~((1 << BoardLayout.PitInterrupt) | (1 << BoardLayout.Com1Interrupt)));
        OutByte(0xA1, 0xFF);
        // PIT channel 0, mode 2.
        const int Divisor = (PitHertz + TimerHertz / 2) / TimerHertz;
        OutByte(0x43, 0x34);
        OutByte(0x40, Divisor & 0xFF);
        OutByte(0x40, Divisor >> 8);
        // 115200 8N1, received-data interrupt. The FIFO stays off: turning it on would drop a byte that is already there.
        OutByte(Com1 + 3, 0x80);
        OutByte(Com1, 1);
        OutByte(Com1 + 1, 0);
        OutByte(Com1 + 3, 3);
        OutByte(Com1 + 4, 0x0B);
        OutByte(Com1 + 1, 1);
    }

    private void Interrupts(Label install)
    {
        Label ignore = _a.CreateLabel();
        Label timer = _a.CreateLabel();
        Label serial = _a.CreateLabel();
        Label exception = _a.CreateLabel();
        Label setGate = _a.CreateLabel();
        Label next = _a.CreateLabel();
        var exceptions = new Label[32];
        for (int i = 0; i < exceptions.Length; i++)
        {
            exceptions[i] = _a.CreateLabel();
        }

        _a.Label(ref install);
        _a.xor(edi, edi);
        _a.Label(ref next);
        _a.lea(rax, __[ignore]);
        _a.call(setGate);
        _a.inc(edi);
        _a.cmp(edi, 256);
        _a.jne(next);
        void Gate(int vector, Label handler)
        {
            _a.mov(edi, vector);
            _a.lea(rax, __[handler]);
            _a.call(setGate);
        }
        for (int i = 0; i < exceptions.Length; i++)
        {
            Gate(i, exceptions[i]);
        }
        Gate(TimerVector, timer);
        Gate(SerialVector, serial);
        _a.mov(__word_ptr[MonitorMemory.InterruptTablePointer], 0xFFF);
        _a.mov(__qword_ptr[MonitorMemory.InterruptTablePointer + 2], (int)MonitorMemory.InterruptTable);
        _a.lidt(__[MonitorMemory.InterruptTablePointer]);
        _a.ret();

        // Gate EDI to RAX: a 64-bit interrupt gate. The image lies below 4 GiB, so the upper half stays zero.
        _a.Label(ref setGate);
        _a.mov(ecx, edi);
        _a.shl(ecx, 4);
        _a.add(ecx, (uint)MonitorMemory.InterruptTable);
        _a.mov(__word_ptr[rcx], ax);
        _a.mov(__word_ptr[rcx + 2], cs);
        _a.mov(__word_ptr[rcx + 4], 0x8E00);
        _a.shr(rax, 16);
        _a.mov(__word_ptr[rcx + 6], ax);
        _a.ret();

        _a.Label(ref timer);
        _a.inc(__qword_ptr[MonitorMemory.Ticks]);
        _a.push(rax);
        _a.mov(al, EndOfInterrupt);
        _a.@out(0x20, al);
        _a.pop(rax);
        _a.Label(ref ignore);
        _a.iretq();

        _a.Label(ref serial);
        _a.push(rax);
        _a.push(rcx);
        _a.push(rdx);
        _a.call(_drain);
        _a.mov(al, EndOfInterrupt);
        _a.@out(0x20, al);
        _a.pop(rdx);
        _a.pop(rcx);
        _a.pop(rax);
        _a.iretq();

        // Those that push an error code: SDM 3A 6.15.
        const uint WithErrorCode = 0x6022_7D00;
        for (int i = 0; i < exceptions.Length; i++)
        {
            _a.Label(ref exceptions[i]);
            if ((WithErrorCode >> i & 1) == 0)
            {
                _a.push(0);
            }
            _a.push(i);
            _a.jmp(exception);
        }
        Label stop = _a.CreateLabel();
        _a.Label(ref exception);
        void Item(string name, int offset)
        {
            Print(name);
            _a.mov(rax, __qword_ptr[rsp + offset]);
            _a.mov(ecx, 16);
            _a.call(_putHex);
        }
        Item("\nexception ", 0);
        Item(" error ", 8);
        Item(" rip ", 16);
        Print("\n");
        _a.Label(ref stop);
        _a.cli();
        _a.hlt();
        _a.jmp(stop);
    }

    private void Output()
    {
        // AL to COM1. Clobbers nothing.
        Label wait = _a.CreateLabel();
        _a.Label(ref _putCharacter);
        _a.push(rdx);
        _a.push(rax);
        _a.mov(edx, LineStatus);
        _a.Label(ref wait);
        _a.@in(al, dx);
        _a.test(al, 0x20);
        _a.jz(wait);
        _a.pop(rax);
        _a.mov(edx, Com1);
        _a.@out(dx, al);
        _a.pop(rdx);
        _a.ret();

        // The string at RSI, line feeds as CR LF. Clobbers RAX, RSI.
        Label plain = _a.CreateLabel();
        Label done = _a.CreateLabel();
        _a.Label(ref _putString);
        _a.lodsb();
        _a.test(al, al);
        _a.jz(done);
        _a.cmp(al, (sbyte)'\n');
        _a.jne(plain);
        _a.mov(al, (sbyte)'\r');
        _a.call(_putCharacter);
        _a.mov(al, (sbyte)'\n');
        _a.Label(ref plain);
        _a.call(_putCharacter);
        _a.jmp(_putString);
        _a.Label(ref done);
        _a.ret();

        // The low ECX hexadecimal digits of RAX. Clobbers RAX, RCX, RDX.
        Label digit = _a.CreateLabel();
        Label isDecimal = _a.CreateLabel();
        _a.Label(ref _putHex);
        _a.mov(rdx, rax);
        _a.shl(ecx, 2);
        _a.Label(ref digit);
        _a.sub(ecx, 4);
        _a.mov(rax, rdx);
        _a.shr(rax, cl);
        _a.and(eax, 0xF);
        _a.add(al, (sbyte)'0');
        _a.cmp(al, (sbyte)'9');
        _a.jbe(isDecimal);
        _a.add(al, 'a' - '9' - 1);
        _a.Label(ref isDecimal);
        _a.call(_putCharacter);
        _a.test(ecx, ecx);
        _a.jnz(digit);
        _a.ret();

        // RAX in decimal. Clobbers RAX, RCX, RDX.
        Label last = _a.CreateLabel();
        _a.Label(ref _putDecimal);
        _a.xor(edx, edx);
        _a.mov(ecx, 10);
        _a.div(rcx);
        _a.push(rdx);
        _a.test(rax, rax);
        _a.jz(last);
        _a.call(_putDecimal);
        _a.Label(ref last);
        _a.pop(rax);
        _a.add(al, (sbyte)'0');
        _a.jmp(_putCharacter);
    }

    private void Input()
    {
        // From COM1 to the ring while there is data and room; what does not fit waits in the UART. Interrupts off. Clobbers RAX, RCX, RDX.
        Label done = _a.CreateLabel();
        _a.Label(ref _drain);
        _a.mov(ecx, __dword_ptr[MonitorMemory.RingHead]);
        _a.inc(ecx);
        _a.and(ecx, MonitorMemory.RingSize - 1);
        _a.cmp(ecx, __dword_ptr[MonitorMemory.RingTail]);
        _a.je(done);
        _a.mov(edx, LineStatus);
        _a.@in(al, dx);
        _a.test(al, 1);
        _a.jz(done);
        _a.mov(edx, Com1);
        _a.@in(al, dx);
        _a.xchg(__dword_ptr[MonitorMemory.RingHead], ecx);
        _a.mov(__byte_ptr[rcx + (long)MonitorMemory.Ring], al);
        _a.jmp(_drain);
        _a.Label(ref done);
        _a.ret();

        // The next byte to AL; sleeps until there is one. Clobbers RAX, RCX, RDX.
        Label have = _a.CreateLabel();
        _a.Label(ref _getCharacter);
        _a.cli();
        _a.mov(ecx, __dword_ptr[MonitorMemory.RingTail]);
        _a.cmp(ecx, __dword_ptr[MonitorMemory.RingHead]);
        _a.jne(have);
        _a.call(_drain);
        _a.mov(ecx, __dword_ptr[MonitorMemory.RingTail]);
        _a.cmp(ecx, __dword_ptr[MonitorMemory.RingHead]);
        _a.jne(have);
        // STI takes effect after HLT has begun: no interrupt is lost between the two.
        _a.sti();
        _a.hlt();
        _a.jmp(_getCharacter);
        _a.Label(ref have);
        _a.movzx(eax, __byte_ptr[rcx + (long)MonitorMemory.Ring]);
        _a.inc(ecx);
        _a.and(ecx, MonitorMemory.RingSize - 1);
        _a.mov(__dword_ptr[MonitorMemory.RingTail], ecx);
        _a.sti();
        _a.ret();

        ReadLine();
    }

    /// <summary>A line to <see cref="MonitorMemory.Line"/>, NUL-terminated, echoed as it is typed.</summary>
    private void ReadLine()
    {
        Label next = _a.CreateLabel();
        Label end = _a.CreateLabel();
        Label lineFeed = _a.CreateLabel();
        Label rubOut = _a.CreateLabel();
        _a.Label(ref _readLine);
        _a.xor(ebx, ebx);
        _a.Label(ref next);
        _a.call(_getCharacter);
        _a.mov(cl, __byte_ptr[MonitorMemory.LastByte]);
        _a.mov(__byte_ptr[MonitorMemory.LastByte], al);
        _a.cmp(al, (sbyte)'\r');
        _a.je(end);
        _a.cmp(al, (sbyte)'\n');
        _a.je(lineFeed);
        _a.cmp(al, 8);
        _a.je(rubOut);
        _a.cmp(al, 0x7F);
        _a.je(rubOut);
        _a.cmp(al, 0x20);
        _a.jb(next);
        _a.cmp(ebx, MonitorMemory.LineLength);
        _a.jae(next);
        _a.mov(__byte_ptr[rbx + (long)MonitorMemory.Line], al);
        _a.inc(ebx);
        _a.call(_putCharacter);
        _a.jmp(next);

        _a.Label(ref rubOut);
        _a.test(ebx, ebx);
        _a.jz(next);
        _a.dec(ebx);
        Print("\b \b");
        _a.jmp(next);

        _a.Label(ref lineFeed);
        _a.cmp(cl, (sbyte)'\r');
        _a.je(next);
        _a.Label(ref end);
        _a.mov(__byte_ptr[rbx + (long)MonitorMemory.Line], 0);
        Print("\n");
        _a.ret();
    }
}
