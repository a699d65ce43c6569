using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>Devices in memory read from translated code: each access is made once, whichever instruction makes it, and gives what the interpreter sees.</summary>
public sealed unsafe class DeviceTests
{
    private const ulong Window = 0x3_0000;

    public static TheoryData<string> Forms => [.. s_forms.Keys];

    private static readonly Dictionary<string, Action<Assembler>> s_forms = new()
    {
        ["mov8"] = a => a.mov(al, __byte_ptr[rdi]),
        ["mov32"] = a => a.mov(eax, __dword_ptr[rdi + 4]),
        ["mov64"] = a => a.mov(r13, __qword_ptr[rdi + 8]),
        ["movzx"] = a => a.movzx(eax, __word_ptr[rdi + 2]),
        ["add"] = a => a.add(rax, __qword_ptr[rdi + 16]),
        ["cmp"] = a => a.cmp(__dword_ptr[rdi], 77),
        ["test"] = a => a.test(__byte_ptr[rdi], 1),
        ["cmov"] = a => a.cmovne(eax, __dword_ptr[rdi]),
        ["imul"] = a => a.imul(eax, __dword_ptr[rdi], 3),
        ["mul"] = a => a.mul(__dword_ptr[rdi]),
        ["div"] = a =>
        {
            a.xor(edx, edx);
            a.div(__dword_ptr[rdi]);
        },
        ["bt"] = a => a.bt(__dword_ptr[rdi], 3),
        ["push"] = a =>
        {
            a.push(__qword_ptr[rdi]);
            a.pop(rax);
        },
        ["movq"] = a =>
        {
            a.movq(xmm1, __qword_ptr[rdi]);
            a.movq(rax, xmm1);
        },
        ["fld"] = a =>
        {
            a.fild(__dword_ptr[rdi]);
            a.fistp(__dword_ptr[rsp - 8]);
            a.mov(eax, __dword_ptr[rsp - 8]);
        },
        ["two"] = a =>
        {
            a.mov(eax, __dword_ptr[rdi]);
            a.xor(eax, __dword_ptr[rdi + 4]);
        },
        ["over the end"] = a => a.mov(eax, __dword_ptr[rdi + 0xFFE]),
        ["add to"] = a => a.add(__dword_ptr[rdi], eax),
        ["xchg"] = a => a.xchg(__dword_ptr[rdi], eax),
    };

    [Theory]
    [MemberData(nameof(Forms))]
    public void EachReadIsMadeOnce(string form)
    {
        using var both = new BothEngines(GuestMode.Long);
        List<(ulong Address, int Size)>[] reads = [[], []];
        foreach ((int index, Guest guest) in (ReadOnlySpan<(int, Guest)>)[(0, both.Interpreted), (1, both.Translated)])
        {
            guest.Page(Window) = 0x5000_0003;
            guest.Page(Window + 0x1000) = 0x5000_1003;
            guest.Bus.Device = (address, size) =>
            {
                reads[index].Add((address, size));
                return (ulong)(reads[index].Count * 0x0101_0101) | 1;
            };
        }
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.xor(r8d, r8d);
            a.mov(esi, 60);
            a.mov(edi, (uint)Window);
            a.Label(ref loop);
            s_forms[form](a);
            a.setc(bl);
            a.adc(r8, rax);
            a.rol(r8, 9);
            a.add(r8, r13);
            a.dec(esi);
            a.jne(loop);
        });
        Assert.NotEmpty(reads[0]);
        Assert.Equal(reads[0], reads[1]);
    }
}
