using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>
/// Whatever a guest computes as an address, translated code reaches its memory or faults as the interpreter does. Two guests' memories are
/// compared in whole after each; an access that went anywhere else would end the process or be missing there.
/// </summary>
public sealed unsafe class AddressTests
{
    /// <summary>Low, in the middle, at the ends of pages, of what is mapped and of memory; not canonical; negative; that of an empty site.</summary>
    private static readonly ulong[] Addresses =
    [
        0, 1, 0xFFF, 0x2_0000, 0x2_0FF8, 0x2_0FFD, 0x2_0FFF, 0x2_FFFC, 0x3_0000, 0x1F_FFFF, 0x20_0000, 0x3F_FFF8, 0x3F_FFFD, 0x3F_FFFF, 0x40_0000,
        0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_F000, 0x7FFF_FFFF_FFFC, 0x8000_0000_0000, 0x1234_5678_9ABC_DEF0,
        0x8000_0000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_F000, 0xFFFF_FFFF_FFFF_FFF8, 0xFFFF_FFFF_FFFF_FFFF,
        ~0xFFFUL ^ 0x2_0000,
    ];

    private static readonly Action<Assembler>[] Accesses =
    [
        a => a.mov(rax, __qword_ptr[rbx]),
        a => a.mov(__dword_ptr[rbx], eax),
        a => a.not(__word_ptr[rbx]),
        a => a.mov(__byte_ptr[rbx], 0x5A),
        a => a.xchg(__dword_ptr[rbx], ecx),
        a => a.movups(xmm1, __xmmword_ptr[rbx]),
        a => a.movaps(__xmmword_ptr[rbx], xmm1),
        a =>
        {
            a.mov(rsp, rbx);
            a.push(rax);
        },
        a =>
        {
            a.mov(rsp, rbx);
            a.pop(rcx);
        },
        a =>
        {
            a.mov(rsp, rbx);
            a.ret();
        },
        a =>
        {
            a.mov(rbp, rbx);
            a.leave();
        },
        a => a.jmp(rbx),
        a => a.call(rbx),
        a => a.jmp(__qword_ptr[rbx]),
        // Base, index and displacement that wrap to the address.
        a =>
        {
            a.lea(rcx, __[rbx + 0x7000_0000]);
            a.mov(eax, __dword_ptr[rcx - 0x7000_0000]);
        },
        a =>
        {
            a.mov(rcx, -8L);
            a.lea(rdx, __[rbx + 64]);
            a.mov(__dword_ptr[rdx + (rcx * 8)], eax);
        },
        a => a.mov(eax, __dword_ptr[ebx]),
        a =>
        {
            a.mov(r14, rbx);
            a.mov(r15, __qword_ptr[r14]);
        },
        a =>
        {
            a.mov(r14, rbx);
            a.xor(r13, r13);
            a.mov(__qword_ptr[r14 + (r13 * 8)], r15);
        },
    ];

    public static TheoryData<int> Forms => [.. Enumerable.Range(0, Accesses.Length)];

    [Theory]
    [MemberData(nameof(Forms))]
    public void AnyAddressDoesAsOnTheInterpreter(int form)
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Both(guest => guest.Page(0x3_0000) = 0);
        foreach (ulong address in Addresses)
        {
            // Once where the access has not found a page yet, and once where it has.
            foreach (bool warm in (bool[])[false, true])
            {
                Prepare(both);
                both.Run(a =>
                {
                    Label loop = a.CreateLabel();
                    a.mov(r8, address);
                    a.mov(r9d, warm ? 2 : 1);
                    a.mov(rbx, warm ? Guest.Data : address);
                    a.Label(ref loop);
                    Accesses[form](a);
                    a.mov(rsp, Guest.StackTop);
                    a.mov(rbx, r8);
                    a.dec(r9d);
                    a.jne(loop);
                });
            }
        }
        Assert.InRange(both.Statistics.NativeInstructions, Addresses.Length, long.MaxValue);
    }

    [Theory]
    [MemberData(nameof(Forms))]
    public void TheTagOfAnEmptySiteLeadsNowhere(int form)
    {
        for (ulong offset = 0; offset < 0x1000; offset += 0x3FC)
        {
            using var both = new BothEngines(GuestMode.Long);
            Prepare(both);
            both.Translated.Assemble(a =>
            {
                a.mov(rbx, Site.Empty + offset);
                Accesses[form](a);
                a.hlt();
            });
            byte[] before = Memory(both.Translated);
            both.Translated.Start(Guest.Code);
            // What it reads is nobody's; what it writes is nowhere in the guest, but for exceptions' frames and the page tables' accessed flags.
            byte[] after = Memory(both.Translated);
            foreach (byte[] memory in (byte[][])[before, after])
            {
                Array.Clear(memory, 0, (int)Guest.StackTop);
                Array.Clear(memory, (int)Guest.Tables, 0x4000);
            }
            Assert.True(after.AsSpan().SequenceEqual(before));
        }
    }

    /// <summary>The same for jumps: memory for a processor may have been another's, whose entries would still lead to its code.</summary>
    [Fact]
    public void AnEmptyEntryOfTheJumpTableFitsNoMode()
    {
        using var both = new BothEngines(GuestMode.Long);
        for (int i = 0; i < Cpu.Translator.JumpTable.Entries; i++)
        {
            Cpu.Translator.JumpTableEntry* entry = Cpu.Translator.BlockTranslator.JumpEntry(both.Translated.State, i);
            Assert.Equal(Site.Empty, entry->Linear);
            // Its mode's place holds what leads an address like that to a page of the translator's.
            Assert.InRange(entry->Mode + Site.Empty, 1UL, 1UL << 47);
            Assert.Equal(0UL, entry->Mode & 0xFFF);
        }
    }

    [Theory]
    [InlineData(0x0000_0000u)]
    [InlineData(0x0002_0FFEu)]
    [InlineData(0x0003_0000u)]
    [InlineData(0x003F_FFFEu)]
    [InlineData(0x7FFF_FFFFu)]
    [InlineData(0xFFFF_FFFCu)]
    [InlineData(0xFFFF_FFFFu)]
    public void ThirtyTwoBitAddressesWrap(uint address)
    {
        foreach (GuestMode mode in (GuestMode[])[GuestMode.Protected32, GuestMode.Compatibility])
        {
            using var both = new BothEngines(mode);
            both.Run(a =>
            {
                a.mov(ebx, address);
                a.mov(ecx, 0xC000_0000);
                a.lea(edx, __[ebx + 0x4000_0000]);
                a.mov(eax, __dword_ptr[edx + ecx]);
                a.lea(edx, __[ebx + 0x10]);
                a.mov(esi, -4);
                a.mov(ax, __word_ptr[edx + (esi * 4)]);
                a.mov(al, __byte_ptr[ebx]);
            });
        }
    }

    private static void Prepare(BothEngines both) => both.Both(guest =>
    {
        CpuState* s = guest.State;
        for (int i = 0; i < 16; i++)
        {
            s->Gpr[i] = 0;
        }
        s->Gpr[4] = Guest.StackTop;
        s->Cr2 = 0;
        // Where RET and JMP go when they may: HLT.
        guest.Write(0, (byte)0xF4);
        guest.Write(Guest.Data, Guest.Handlers + 0x800);
    });

    private static byte[] Memory(Guest guest) => new ReadOnlySpan<byte>(guest.Memory.Pointer(0), (int)Guest.MemorySize).ToArray();
}
