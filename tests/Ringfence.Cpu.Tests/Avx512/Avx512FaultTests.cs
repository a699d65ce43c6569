using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Exceptions of AVX-512 instructions: what is masked out causes none, what is not comes before anything has changed (SDM 2 2.7; SDM 1 11.5).</summary>
public sealed unsafe class Avx512FaultTests
{
    private const int Translated = 1;
    private const int OneByOne = 1 << 30;
    private const ulong Hole = Guest.Data + 0x1000;
    private const ulong Accessed = 0x20;
    private static readonly double s_signaling = BitConverter.UInt64BitsToDouble(0x7FF0_0000_0000_0001);

    /// <summary>Each instruction with a mask and memory, half of it in a page that is not there: with the mask's other half clear it does what it does with all of
    /// memory there, unless it is of the classes that suppress no faults.</summary>
    [Fact]
    public void MaskedOutElementsCauseNoFault()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, OneByOne);
        var random = new Random(512);
        List<string> failures = [];
        int suppressed = 0;
        foreach (Code code in WideForms.OfHost)
        {
            foreach (Instruction form in WideForms.Of(code, random).Where(f => f.OpMask != Iced.Intel.Register.None && HasMemory(in f) && !f.IsVsib).DistinctBy(f => (f.IsBroadcast, f.ZeroingMasking)))
            {
                bool store = form.Op0Kind == OpKind.Memory;
                int bytes = form.MemorySize.GetSize();
                int element = code.ToOpCode().CanBroadcast ? code.ToOpCode().BroadcastMemorySize.GetSize() : code.ToOpCode().MemorySize.GetElementSize();
                // The mask's lower half means the operand's lower half; of what has one element, nothing.
                bool one = bytes <= element;
                ulong address = one ? Hole : Hole - (ulong)(bytes / 2);
                ulong mask = one ? 0 : (1UL << (bytes / element / 2)) - 1;
                if (FaultSuppression.MustBeAligned(form.Mnemonic))
                {
                    continue;
                }
                Instruction placed = form with { MemoryBase = Iced.Intel.Register.RSI, MemoryDisplSize = 0, MemoryDisplacement64 = 0 };
                byte[] encoded = WideForms.Encode(in placed);
                WideImage start = WideImage.Of(random);
                start.Opmask[form.OpMask.GetNumber()] = FaultSuppression.IsBroadcast(form.Mnemonic) ? 0 : mask;
                address = FaultSuppression.IsBroadcast(form.Mnemonic) ? Hole : address;
                start.Gpr[6] = address;
                WideImage reference = Run(guest, encoded, start, true, out int expected);
                WideImage result = Run(guest, encoded, start, false, out int vector);
                bool suppresses = FaultSuppression.Of(in form);
                suppressed += suppresses ? 1 : 0;
                string? difference = expected != -1 ? "does not run" : vector != (suppresses ? -1 : 14) ? $"vector {vector}"
                    : suppresses ? WideImage.Difference(&reference, &result) : WideImage.Difference(&start, &result);
                if (difference != null)
                {
                    failures.Add($"{form} {(store ? "store" : "load")}: {difference}");
                }
            }
        }
        Assert.True(failures.Count == 0, $"{failures.Count}\n" + string.Join('\n', failures.Take(30)));
        Assert.True(suppressed > 1000);
    }

    /// <summary>The other way: one element that is wanted is in the page that is not there. Nothing is loaded, nothing stored, and the address is the element's.</summary>
    [Theory]
    [InlineData(Translated)]
    [InlineData(OneByOne)]
    public void OneWantedElementFaults(int threshold)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
        guest.Page(Hole) = 0;
        foreach (bool store in new[] { false, true })
        {
            new Span<byte>(WideGuest.Vector(guest, 16), 64).Fill(0x77);
            guest.State->Opmasks[1] = 0b1_0000_0000_0001;
            guest.Memory.Write(Hole - 16, new byte[16]);
            Outcome outcome = guest.Run(a =>
            {
                if (store)
                {
                    a.vmovdqu32(__zmmword_ptr[Hole - 16].k1, zmm16);
                }
                else
                {
                    a.vmovdqu32(zmm16.k1, __zmmword_ptr[Hole - 16]);
                }
            });
            Assert.Equal((14, store ? 2u : 0u, Hole + 32), (outcome.Vector, outcome.Error, guest.State->Cr2));
            Assert.True(new ReadOnlySpan<byte>(WideGuest.Vector(guest, 16), 64).IndexOfAnyExcept((byte)0x77) < 0);
            Assert.Equal(0UL, guest.Read<ulong>(Hole - 16));
        }
    }

    /// <summary>SDM 2 VPGATHERDD, VPSCATTERDD: elements are done in order, each clears its bit of the mask, and after the fault the rest is.</summary>
    [Fact]
    public void GathersAndScattersGoOnWhereTheyWere()
    {
        foreach (bool scatter in new[] { false, true })
        {
            using Guest guest = WideGuest.Start(GuestMode.Long, OneByOne);
            ulong entry = guest.Page(Hole);
            guest.Page(Hole) = 0;
            for (int i = 0; i < 16; i++)
            {
                ((int*)WideGuest.Vector(guest, 20))[i] = i * 64;
                ((int*)WideGuest.Vector(guest, 21))[i] = 0x1000 + i;
                guest.Write(Hole - 0x280 + (ulong)(i * 64), (uint)(0x2000 + i));
            }
            guest.State->Opmasks[3] = 0xFFFF_FFF7;
            guest.State->Gpr[3] = Hole - 0x280;
            Outcome outcome = guest.Run(a =>
            {
                if (scatter)
                {
                    a.vpscatterdd(__[rbx + zmm20].k3, zmm21);
                }
                else
                {
                    a.vpgatherdd(zmm21.k3, __[rbx + zmm20]);
                }
            });
            Assert.Equal((14, Hole), (outcome.Vector, guest.State->Cr2));
            Assert.Equal(0xFFFF_FC00UL, guest.State->Opmasks[3]);
            for (int i = 0; i < 16; i++)
            {
                Assert.Equal(!scatter && i < 10 && i != 3 ? 0x2000 + i : 0x1000 + i, ((int*)WideGuest.Vector(guest, 21))[i]);
                Assert.Equal((uint)(scatter && i < 10 && i != 3 ? 0x1000 + i : 0x2000 + i), guest.Read<uint>(Hole - 0x280 + (ulong)(i * 64)));
            }
            guest.Page(Hole) = entry;
            guest.State->Gpr[4] = Guest.StackTop;
            Assert.Equal(-1, guest.Start(outcome.Rip).Vector);
            Assert.Equal(0UL, guest.State->Opmasks[3]);
            Assert.Equal(scatter ? 0x100F : 0x200F, scatter ? guest.Read<int>(Hole - 0x280 + (15 * 64)) : ((int*)WideGuest.Vector(guest, 21))[15]);
        }
    }

    /// <summary>SDM 2 2.7.11, class E12: the destination of a gather is not its index. Without a mask neither gathers nor scatters are instructions.</summary>
    [Theory]
    [InlineData(new byte[] { 0x62, 0xE2, 0x7D, 0x41, 0x90, 0x04, 0x03 })]
    [InlineData(new byte[] { 0x62, 0xE2, 0x7D, 0x40, 0x90, 0x0C, 0x03 })]
    [InlineData(new byte[] { 0x62, 0xE2, 0x7D, 0x40, 0xA0, 0x0C, 0x03 })]
    public void SomeGathersAreNone(byte[] code)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, OneByOne);
        Assert.Equal(6, guest.Run(code).Vector);
    }

    /// <summary>Classes E1 and E1NF: #GP for an operand that is not aligned to its size, if anything of it is wanted.</summary>
    [Theory]
    [InlineData(Translated)]
    [InlineData(OneByOne)]
    public void AlignedMovesCheck(int threshold)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
        foreach ((Action<Assembler> code, int vector) in new (Action<Assembler>, int)[]
            {
                (a => a.vmovaps(zmm1, __zmmword_ptr[Guest.Data + 32]), 13), (a => a.vmovaps(zmm1, __zmmword_ptr[Guest.Data + 64]), -1),
                (a => a.vmovdqa64(__ymmword_ptr[Guest.Data + 16], ymm17), 13), (a => a.vmovdqa64(__ymmword_ptr[Guest.Data + 32], ymm17), -1),
                (a => a.vmovntdq(__zmmword_ptr[Guest.Data + 32], zmm1), 13), (a => a.vmovntdqa(zmm1, __zmmword_ptr[Guest.Data + 8]), 13),
                (a => a.vmovapd(zmm1.k1, __zmmword_ptr[Guest.Data + 8]), -1), (a => a.vmovapd(zmm1.k2, __zmmword_ptr[Guest.Data + 8]), 13),
                (a => a.vmovups(zmm1, __zmmword_ptr[Guest.Data + 1]), -1), (a => a.vaddps(zmm1, zmm17, __zmmword_ptr[Guest.Data + 4]), -1),
            })
        {
            guest.State->Opmasks[1] = 0x100;
            guest.State->Opmasks[2] = 0x80;
            guest.State->Gpr[4] = Guest.StackTop;
            Assert.Equal(vector, guest.Run(code).Vector);
        }
    }

    /// <summary>SDM 1 11.5.3: an unmasked exception keeps the destination, those before computation hide those after; {sae} raises none. Without
    /// CR4.OSXMMEXCPT it is #UD.</summary>
    [Theory]
    [InlineData(0x1F80U, 1.0, 0.0, 0x4U, -1, true)]
    [InlineData(0x1D80U, 1.0, 0.0, 0x4U, 19, true)]
    [InlineData(0x1D80U, 1.0, 0.0, 0x4U, 6, false)]
    [InlineData(0x1F00U, 0.0, 0.0, 0x1U, 19, true)]
    [InlineData(0x1F00U, 1.0, 0.0, 0x4U, -1, true)]
    [InlineData(0x1B80U, 1e300, 1e-300, 0x28U, 19, true)]
    [InlineData(0x0F80U, 1.0, 3.0, 0x20U, 19, true)]
    [InlineData(0x1780U, 1e-300, 1e300, 0x30U, 19, true)]
    [InlineData(0x1780U, 2.2250738585072014E-308, 2.0, 0x10U, 19, true)]
    [InlineData(0x9780U, 2.2250738585072014E-308, 2.0, 0x10U, 19, true)]
    [InlineData(0x9780U, 1.0, 2.0, 0U, -1, true)]
    [InlineData(0x9D80U, 2.2250738585072014E-308, 2.0, 0x30U, -1, true)]
    public void UnmaskedExceptionsAreRaised(uint mxcsr, double a, double b, uint flags, int vector, bool osxmmexcpt)
    {
        foreach (int threshold in new[] { Translated, OneByOne })
        {
            using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
            CpuState* s = guest.State;
            s->Cr4 = osxmmexcpt ? s->Cr4 | 0x400 : s->Cr4 & ~0x400UL;
            s->Mxcsr = mxcsr;
            s->Opmasks[1] = 0b1010_0000;
            for (int i = 0; i < 8; i++)
            {
                ((double*)WideGuest.Vector(guest, 16))[i] = 7;
                // A lane that is masked out would raise what no other does.
                ((double*)WideGuest.Vector(guest, 17))[i] = i == 5 ? a : i == 7 ? 4 : s_signaling;
                ((double*)WideGuest.Vector(guest, 18))[i] = i == 5 ? b : 2;
            }
            Outcome outcome = guest.Run(c => c.vdivpd(zmm16.k1, zmm17, zmm18));
            Assert.Equal((vector, mxcsr | flags), (outcome.Vector, s->Mxcsr));
            Assert.Equal(vector < 0 ? 2.0 : 7.0, ((double*)WideGuest.Vector(guest, 16))[7]);
            Assert.Equal(0b1010_0000UL, s->Opmasks[1]);
            s->Mxcsr = mxcsr;
            s->Gpr[4] = Guest.StackTop;
            Assert.Equal(-1, guest.Run(c => c.vdivpd(zmm16.k1, zmm17, zmm18.rn_sae)).Vector);
            Assert.Equal(mxcsr, s->Mxcsr);
        }
    }

    /// <summary>Stores change code that is about to run, also code of their own page and block.</summary>
    [Theory]
    [InlineData(Translated)]
    [InlineData(OneByOne)]
    public void StoresChangeCode(int threshold)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
        for (int round = 0; round < 3; round++)
        {
            guest.Assemble(a =>
            {
                Label changed = a.CreateLabel();
                a.lea(rdi, __[changed]);
                a.kmovd(k1, ecx);
                a.vmovdqu8(__xmmword_ptr[rdi].k1, xmm16);
                a.Label(ref changed);
                a.mov(eax, 1);
                a.hlt();
            });
            // Only the immediate's lowest byte.
            guest.State->Gpr[1] = 2;
            WideGuest.Vector(guest, 16)[1] = (byte)(0x40 + round);
            Assert.Equal(-1, guest.Start(Guest.Code).Vector);
            Assert.Equal(0x40UL + (ulong)round, guest.State->Gpr[0]);
        }
    }

    /// <summary>A device's page is read and written by as many bytes as are wanted.</summary>
    [Fact]
    public void DevicesSeeWhatIsWanted()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        // The task priority of the local APIC, and nothing else.
        guest.Page(Guest.Data) = 0xFEE0_0000 | 7;
        guest.State->Opmasks[1] = 1;
        ((uint*)WideGuest.Vector(guest, 16))[0] = 0x30;
        Assert.Equal(-1, guest.Run(a =>
        {
            a.vmovdqu32(__zmmword_ptr[Guest.Data + 0x80].k1, zmm16);
            a.vmovdqu32(zmm17.k1.z, __zmmword_ptr[Guest.Data + 0x80]);
        }).Vector);
        Assert.Equal((0x30u, 0u), (((uint*)WideGuest.Vector(guest, 17))[0], ((uint*)WideGuest.Vector(guest, 17))[4]));
        Assert.Equal(0x30u, guest.Processor.Apic.Save().TaskPriority);
    }

    /// <summary>SDM 3B 18.2.4: a breakpoint on data that is masked out is not met.</summary>
    [Theory]
    [InlineData(0x0FUL, -1)]
    [InlineData(0x1FUL, 1)]
    public void WatchedDataCountsIfItIsWanted(ulong mask, int vector)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        guest.State->Opmasks[1] = mask;
        guest.State->Dr[0] = Guest.Data + 16;
        guest.State->Dr[7] = 0x000D_0402;
        guest.Processor.StateLoaded();
        Assert.Equal(vector, guest.Run(a =>
        {
            a.vmovdqu32(__zmmword_ptr[Guest.Data].k1, zmm16);
            a.nop();
        }).Vector);
    }

    private static WideImage Run(Guest guest, byte[] code, WideImage start, bool mapped, out int vector)
    {
        guest.Page(Hole) = Hole | (mapped ? 7UL : 0) | Accessed;
        start.Gpr[4] = Guest.StackTop;
        start.Load(guest.State);
        vector = guest.Run(code).Vector;
        WideImage result = default;
        result.Store(guest.State);
        return result;
    }

    private static bool HasMemory(in Instruction form)
    {
        for (int i = 0; i < form.OpCount; i++)
        {
            if (form.GetOpKind(i) == OpKind.Memory)
            {
                return true;
            }
        }
        return false;
    }
}
