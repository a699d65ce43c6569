using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;
using static Ringfence.Cpu.Tests.X87.HostComparison;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>x87 instructions as a guest meets them: decoded, bound and run by a processor.</summary>
public sealed unsafe class X87ExecutionTests
{
    // CR0
    private const ulong MonitorCoprocessor = 2;
    private const ulong Emulation = 4;
    private const ulong TaskSwitched = 8;

    private static readonly byte[] LoadOne = [0xD9, 0xE8];

    /// <summary>Unmasked division by zero, and one: the exception waits.</summary>
    private static readonly byte[] DivideByZero =
    [
        0xDB, 0xE3,                                 // fninit
        0xC7, 0x06, 0x7B, 0x03, 0x00, 0x00,         // mov dword [rsi], 037Bh
        0xD9, 0x2E,                                 // fldcw [rsi]
        0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9,         // fld1; fldz; fdivp
    ];

    /// <summary>Every memory form, over random states, does what the host does.</summary>
    [Fact]
    [Trait("Category", LongRun.Category)]
    public void MemoryFormsDoWhatTheHostDoes()
    {
        using var machine = new X87Machine(64);
        int forms = 0;
        for (int number = 0; number < 64; number++)
        {
            byte[] bytes = [(byte)(0xD8 + (number >> 3)), (byte)(((number & 7) << 3) + 6)];
            Instruction instruction = X87Codes.Decode(bytes);
            if (!X87Codes.IsCompared(in instruction) || Operand(instruction) is not OperandKind operand)
            {
                continue;
            }
            bool compares = instruction.Mnemonic is Mnemonic.Fcom or Mnemonic.Fcomp or Mnemonic.Ficom or Mnemonic.Ficomp;
            machine.Place(bytes);
            Run(instruction.ToString(), bytes, operand, (X87State* f, byte* m, ref ulong r) =>
            {
                CpuState* s = machine.State;
                s->X87 = *f;
                Flags.Set(s, r);
                new ReadOnlySpan<byte>(m, 16).CopyTo(new Span<byte>(machine.At(X87Machine.Data), 16));
                Assert.True(machine.Run(), machine.Fault);
                new ReadOnlySpan<byte>(machine.At(X87Machine.Data), 16).CopyTo(new Span<byte>(m, 16));
                *f = s->X87;
                r = Flags.Get(s);
            }, 0, 2_000, compares);
            forms++;
        }
        // 64 less D9 /1, DB /4 and /6, DD /5, and the four that move images.
        Assert.Equal(56, forms);
    }

    [Fact]
    public void StatusGoesToAxAlone()
    {
        using var machine = new X87Machine(64);
        machine.State->Gpr[0] = 0x1122_3344_5566_7788;
        Assert.True(machine.Run([.. LoadOne, 0xDF, 0xE0]), machine.Fault); // fld1; fnstsw ax
        Assert.Equal(0x1122_3344_5566_3800UL, machine.State->Gpr[0]);
    }

    [Theory]
    [InlineData(0xD9, 0x16)] // fst m32
    [InlineData(0xD9, 0x1E)] // fstp m32
    [InlineData(0xDD, 0x1E)] // fstp m64
    [InlineData(0xDB, 0x3E)] // fstp m80
    [InlineData(0xDF, 0x36)] // fbstp m80
    [InlineData(0xDF, 0x1E)] // fistp m16
    [InlineData(0xDB, 0x1E)] // fistp m32
    [InlineData(0xDF, 0x3E)] // fistp m64
    [InlineData(0xDD, 0x0E)] // fisttp m64
    [InlineData(0xD9, 0x3E)] // fnstcw
    [InlineData(0xDD, 0x3E)] // fnstsw
    [InlineData(0xD9, 0x36)] // fnstenv
    [InlineData(0xDD, 0x36)] // fnsave
    public void AStoreThatFaultsChangesNothing(byte escape, byte modrm)
    {
        using var machine = new X87Machine(64);
        CpuState* s = machine.State;
        Assert.True(machine.Run(0xD9, 0xEB), machine.Fault); // fldpi: inexact in all that is narrower
        X87State before = s->X87;
        machine.Place(escape, modrm);
        // In the page; from the byte before it; and in a page that is there but not to be written.
        foreach ((ulong address, string fault) in new[]
        {
            (X87Machine.Absent, "#PF(2) at 8:8000 cr2=22000"), (X87Machine.Absent - 1, "#PF(2) at 8:8000 cr2=22000"),
            (X87Machine.ReadOnly + 8, "#PF(3) at 8:8000 cr2=24008"),
        })
        {
            new Span<byte>(machine.At(X87Machine.Absent - 16), 16).Fill(0xCC);
            s->Gpr[6] = address;
            Assert.False(machine.Run());
            Assert.StartsWith(fault, machine.Fault);
            AssertSame(before, s->X87);
            Assert.True(modrm == 0x36 || new ReadOnlySpan<byte>(machine.At(X87Machine.Absent - 16), 16).IndexOfAnyExcept((byte)0xCC) < 0);
        }
    }

    [Theory]
    [InlineData(0xDB, 0x3E)] // fstp m80
    [InlineData(0xDF, 0x36)] // fbstp m80
    public void TenBytesAreWrittenTogether(byte escape, byte modrm)
    {
        using var machine = new X87Machine(64);
        Assert.True(machine.Run(0xD9, 0xEB), machine.Fault);
        X87State before = machine.State->X87;
        machine.Place(escape, modrm);
        const ulong End = X87Machine.Absent + 0x1000;
        // As hardware does: CR2 is the first byte that cannot be written, whichever part it is in.
        foreach ((ulong address, ulong fault) in new[]
        {
            (X87Machine.Absent + 16, X87Machine.Absent + 16), (X87Machine.Absent - 6, X87Machine.Absent), (X87Machine.Absent - 8, X87Machine.Absent),
            (End - 6, End - 6), (End - 8, End - 8), (End - 10, End - 10),
        })
        {
            new Span<byte>(machine.At(X87Machine.Absent - 16), 0x1020).Fill(0xCC);
            machine.State->Gpr[6] = address;
            Assert.False(machine.Run());
            Assert.StartsWith($"#PF(2) at 8:8000 cr2={fault:x},", machine.Fault);
            AssertSame(before, machine.State->X87);
            Assert.True(new ReadOnlySpan<byte>(machine.At(X87Machine.Absent - 16), 0x1020).IndexOfAnyExcept((byte)0xCC) < 0);
        }
        machine.State->Gpr[6] = X87Machine.Absent - 0x1006;
        Assert.True(machine.Run(), machine.Fault);
        Assert.NotEqual(0xCCCC, *(ushort*)machine.At(X87Machine.Absent - 0x1000 + 2));
    }

    [Theory]
    [InlineData(0xD8, 0x06)] // fadd m32
    [InlineData(0xDA, 0x0E)] // fimul m32
    [InlineData(0xDC, 0x1E)] // fcomp m64
    [InlineData(0xDE, 0x1E)] // ficomp m16
    [InlineData(0xD9, 0x06)] // fld m32
    [InlineData(0xDB, 0x2E)] // fld m80
    [InlineData(0xDF, 0x26)] // fbld m80
    [InlineData(0xDF, 0x2E)] // fild m64
    [InlineData(0xD9, 0x2E)] // fldcw
    [InlineData(0xD9, 0x26)] // fldenv
    [InlineData(0xDD, 0x26)] // frstor
    public void ALoadThatFaultsChangesNothing(byte escape, byte modrm)
    {
        using var machine = new X87Machine(64);
        CpuState* s = machine.State;
        Assert.True(machine.Run(0xD9, 0xEB), machine.Fault);
        X87State before = s->X87;
        machine.Place(escape, modrm);
        foreach (ulong address in new[] { X87Machine.Absent, X87Machine.Absent - 1 })
        {
            s->Gpr[6] = address;
            Assert.False(machine.Run());
            Assert.StartsWith("#PF(0) at 8:8000 cr2=22000", machine.Fault);
            AssertSame(before, s->X87);
        }
    }

    [Theory]
    [InlineData("D9E8")] // fld1
    [InlineData("D9D0")] // fnop
    [InlineData("D9F7")] // fincstp
    [InlineData("DDC0")] // ffree st
    [InlineData("D806")] // fadd m32
    [InlineData("DD1E")] // fstp m64
    [InlineData("DBF1")] // fcomi
    [InlineData("DAC1")] // fcmovb
    [InlineData("D92E")] // fldcw
    [InlineData("D926")] // fldenv
    [InlineData("DD26")] // frstor
    [InlineData("9B")] // wait
    [InlineData("9BDBE3")] // finit
    [InlineData("9BDFE0")] // fstsw ax
    [InlineData("9BDD36")] // fsave
    public void APendingExceptionIsRaisedByTheNextThatWaits(string next)
    {
        using var machine = new X87Machine(64);
        Assert.False(machine.Run([.. DivideByZero, .. Convert.FromHexString(next)]));
        Assert.StartsWith($"#MF(0) at 8:{X87Machine.Code + (ulong)DivideByZero.Length:x}", machine.Fault);
        Assert.Equal(0x8084, machine.State->X87.StatusWord & 0x80FF);
    }

    [Theory]
    [InlineData("DBE3", 0x0000)] // fninit
    [InlineData("DBE2", 0x0000)] // fnclex
    [InlineData("DFE0", 0x8084)] // fnstsw ax
    [InlineData("DD3E", 0x8084)] // fnstsw m16
    [InlineData("D93E", 0x8084)] // fnstcw
    [InlineData("D936", 0x0004)] // fnstenv: masks, so that nothing waits any more
    [InlineData("DD36", 0x0000)] // fnsave
    [InlineData("DBE0", 0x8084)] // fneni
    [InlineData("DBE1", 0x8084)] // fndisi
    [InlineData("DBE4", 0x8084)] // fnsetpm
    public void TheOthersRunWithAnExceptionPending(string next, int status)
    {
        using var machine = new X87Machine(64);
        Assert.True(machine.Run([.. DivideByZero, .. Convert.FromHexString(next)]), machine.Fault);
        Assert.Equal(status, machine.State->X87.StatusWord & 0x80FF);
    }

    [Theory]
    [InlineData(TaskSwitched, "D9E8", true)]
    [InlineData(TaskSwitched, "DFE0", true)] // fnstsw ax
    [InlineData(Emulation, "D9E8", true)]
    [InlineData(Emulation, "DBE3", true)] // fninit
    [InlineData(TaskSwitched, "9B", false)] // wait
    [InlineData(MonitorCoprocessor, "9B", false)]
    [InlineData(Emulation, "9B", false)]
    [InlineData(Emulation | MonitorCoprocessor, "9B", false)]
    [InlineData(TaskSwitched | MonitorCoprocessor, "9B", true)]
    [InlineData(MonitorCoprocessor, "D9E8", false)]
    public void TheUnitIsAvailableAsControlRegisterZeroSays(ulong control, string code, bool faults)
    {
        using var machine = new X87Machine(64);
        machine.SetControl(control);
        Assert.Equal(!faults, machine.Run(Convert.FromHexString(code)));
        if (faults)
        {
            Assert.StartsWith("#NM(0) at 8:8000", machine.Fault);
        }
    }

    [Theory]
    [InlineData(64, "", 28)]
    [InlineData(64, "66", 14)]
    [InlineData(32, "", 28)]
    [InlineData(32, "66", 14)]
    public void TheEnvironmentTellsWhereTheLastInstructionWas(int bits, string prefix, int size)
    {
        using var machine = new X87Machine(bits);
        new Span<byte>(machine.At(X87Machine.Data), 64).Fill(0xCC);
        // fninit; fld dword [rsi+32]; fnclex, which as a control instruction leaves the pointers alone; fnstenv [rsi]
        Assert.True(machine.Run([0xDB, 0xE3, 0xD9, 0x46, 0x20, 0xDB, 0xE2, .. Convert.FromHexString(prefix), 0xD9, 0x36]), machine.Fault);
        byte* image = machine.At(X87Machine.Data);
        int step = size / 7;
        Assert.Equal(0x037F, *(ushort*)image);
        Assert.Equal(0x3800, *(ushort*)(image + step) & 0x3800);
        Assert.Equal(0x3FFF, *(ushort*)(image + (2 * step))); // register 7 valid, the others empty
        Assert.Equal(0x8002, *(ushort*)(image + (3 * step)));
        Assert.Equal(0x0020, *(ushort*)(image + (5 * step))); // the low half of the address
        Assert.Equal(0xCC, image[size]);
    }

    [Theory]
    [InlineData(64, "", 108)]
    [InlineData(64, "66", 94)]
    [InlineData(32, "", 108)]
    [InlineData(32, "66", 94)]
    [InlineData(16, "66", 108)]
    [InlineData(16, "", 94)]
    public void ASavedStateComesBack(int bits, string prefix, int size)
    {
        using var machine = new X87Machine(bits);
        CpuState* s = machine.State;
        byte[] operandSize = Convert.FromHexString(prefix);
        // In 16-bit code [esi] needs an address-size prefix.
        byte[] save = [.. bits == 16 ? new byte[] { 0x67 } : [], .. operandSize, 0xDD, 0x36];
        byte[] restore = [.. bits == 16 ? new byte[] { 0x67 } : [], .. operandSize, 0xDD, 0x26];
        byte* image = machine.At(X87Machine.Data);
        new Span<byte>(image, 128).Fill(0xCC);
        Assert.True(machine.Run(0xDB, 0xE3, 0xD9, 0xEB, 0xD9, 0xEE, 0xD9, 0xE8, 0xD9, 0xE0), machine.Fault); // fldpi; fldz; fld1; fchs
        X87State before = s->X87;

        Assert.True(machine.Run(save), machine.Fault);
        Assert.Equal(0x037F, s->X87.ControlWord);
        Assert.Equal(0, s->X87.StatusWord);
        Assert.Equal(0, s->X87.Tags);
        Assert.Equal(0xCC, image[size]);
        Assert.NotEqual(0xCC, image[size - 1]);

        Assert.True(machine.Run(restore), machine.Fault);
        AssertSameStack(before, s->X87);
    }

    [Fact]
    public void ConditionalMovesFollowTheFlags()
    {
        using var machine = new X87Machine(64);
        uint[] taken = [Flags.Carry, Flags.Zero, Flags.Carry | Flags.Zero, Flags.Parity];
        for (int condition = 0; condition < 8; condition++)
        {
            // fninit; fld1; fldz; fcmovcc st, st1
            byte escape = condition < 4 ? (byte)0xDA : (byte)0xDB;
            machine.Place(0xDB, 0xE3, 0xD9, 0xE8, 0xD9, 0xEE, escape, (byte)(0xC1 + ((condition & 3) << 3)));
            foreach (uint flags in new[] { 0u, Flags.Carry, Flags.Zero, Flags.Parity, Flags.Sign | Flags.Overflow, Flags.Arithmetic })
            {
                Flags.Set(machine.State, flags);
                Assert.True(machine.Run(), machine.Fault);
                bool moved = ((flags & taken[condition & 3]) != 0) == (condition < 4);
                Assert.Equal(moved ? Float80.One : default, machine.State->X87.GetPhysical(6));
            }
        }
    }

    private static void AssertSame(in X87State before, in X87State after)
    {
        AssertSameStack(before, after);
        Assert.Equal((before.Opcode, before.InstructionPointer, before.DataPointer), (after.Opcode, after.InstructionPointer, after.DataPointer));
    }

    private static void AssertSameStack(in X87State before, in X87State after)
    {
        Assert.Equal(before.ControlWord, after.ControlWord);
        Assert.Equal(before.StatusWord, after.StatusWord);
        Assert.Equal(before.Tags, after.Tags);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(before.GetPhysical(i), after.GetPhysical(i));
        }
    }

    /// <summary>What to put into memory for an instruction; null if it moves a whole image.</summary>
    private static OperandKind? Operand(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp or Mnemonic.Fnstcw
            or Mnemonic.Fnstsw => OperandKind.Destination,
        _ => instruction.MemorySize switch
        {
            MemorySize.Float32 => OperandKind.Single,
            MemorySize.Float64 => OperandKind.Double,
            MemorySize.Float80 => OperandKind.Extended,
            MemorySize.Bcd => OperandKind.Bcd,
            MemorySize.Int16 or MemorySize.UInt16 => OperandKind.Integer16,
            MemorySize.Int32 or MemorySize.Int64 => OperandKind.Integer,
            _ => null,
        },
    };
}
