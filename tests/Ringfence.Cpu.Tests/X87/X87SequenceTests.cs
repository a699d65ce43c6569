using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>x87 instructions one after the other, also in a loop, so that a translator keeps the unit's state in the host's from one to the next.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class X87SequenceTests
{
    private const int Slots = 4;
    private const int SlotBytes = 16;
    private const byte RsiWithByte = 0x46;

    private static readonly byte[] Absent = [0x8B, 0x86, 0x00, 0x20, 0x00, 0x00]; // mov eax, [rsi + 2000h]

    [Fact]
    public void SequencesDoWhatTheHostDoes()
    {
        Assert.SkipUnless(HostX87.IsAvailable, "the oracle is the x87 of an x86-64 Linux host");
        byte[][] registerForms = [.. Forms(true)];
        byte[][] memoryForms = [.. Forms(false)];
        var source = new OperandSource(0x5E9);
        using var machine = new X87Machine(64);
        byte* image = stackalloc byte[108];
        byte* here = stackalloc byte[108];
        byte* memory = stackalloc byte[Slots * SlotBytes];
        for (int n = 0; n < 2_000; n++)
        {
            var code = new List<byte>();
            bool loops = source.Below(2) == 0;
            if (loops)
            {
                code.AddRange([0xB9, 3, 0, 0, 0]); // mov ecx, 3
            }
            int start = code.Count;
            int last = -1;
            for (int i = 1 + source.Below(10); i > 0; i--)
            {
                byte[] form = source.Below(3) == 0 ? memoryForms[source.Below(memoryForms.Length)] : registerForms[source.Below(registerForms.Length)];
                last = MovesPointers(form) ? code.Count : last;
                code.AddRange(form);
                if (form.Length > 2)
                {
                    code[^1] = (byte)(source.Below(Slots) * SlotBytes);
                }
            }
            if (loops)
            {
                code.AddRange([0xFF, 0xC9, 0x75, (byte)(start - code.Count - 4)]); // dec ecx; jnz
            }
            X87State state = HostComparison.RandomState(source);
            state.ControlWord |= 0x3F;
            state.Normalize();
            FillMemory(source, memory);
            machine.Place([.. code]);
            machine.State->X87 = state;
            machine.State->Gpr[6] = X87Machine.Data;
            new Span<byte>(memory, Slots * SlotBytes).CopyTo(new Span<byte>(machine.At(X87Machine.Data), Slots * SlotBytes));
            ulong flags = 0x202 | (source.Bits64() & 0x8D5);
            Flags.Set(machine.State, flags);
            X87Image.WriteSave(state, new Span<byte>(image, 108), true, false);

            using var host = new HostX87([.. code]);
            ulong hostFlags = host.Run(image, memory, flags) & 0x8D5;
            Assert.True(machine.Run(), machine.Fault);

            X87Image.WriteSave(machine.State->X87, new Span<byte>(here, 108), true, false);
            string what = $"{n}: {Convert.ToHexString([.. code])}";
            Assert.True(HostComparison.Same(image, here, X87Status.C1), $"{what}\n  here {HostComparison.Show(here)}\n  host {HostComparison.Show(image)}");
            Assert.Equal(Convert.ToHexString(new ReadOnlySpan<byte>(memory, Slots * SlotBytes)),
                Convert.ToHexString(new ReadOnlySpan<byte>(machine.At(X87Machine.Data), Slots * SlotBytes)));
            Assert.True(hostFlags == (Flags.Get(machine.State) & 0x8D5), what);
            Assert.True((*(uint*)(image + 16) >> 16 & 0x7FF) == machine.State->X87.Opcode, what);
            Assert.True((last < 0 ? 0 : X87Machine.Code + (ulong)last) == machine.State->X87.InstructionPointer, what);
            uint data = *(uint*)(image + 20);
            Assert.True((data == 0 ? 0 : X87Machine.Data + data - (uint)memory) == machine.State->X87.DataPointer, what);
        }
    }

    /// <summary>SDM 1 8.1.8: the pointers are those of the last x87 instruction, wherever the code is left after it.</summary>
    [Fact]
    public void PointersAreThereWhenALaterInstructionFaults()
    {
        using var machine = new X87Machine(64);
        // fld qword [rsi + 16]; fxch; fnstcw [rsi]
        Assert.False(machine.Run([0xDD, 0x46, 0x10, 0xD9, 0xC9, 0xD9, 0x3E, .. Absent]));
        Assert.Contains("#PF", machine.Fault, StringComparison.Ordinal);
        X87State* f = &machine.State->X87;
        Assert.Equal((0x1C9, X87Machine.Code + 3), ((int)f->Opcode, f->InstructionPointer));
        Assert.Equal((X87Machine.Data + 16, 16), (f->DataPointer, (int)f->DataSelector));
    }

    /// <summary>Ten bytes: to the end of the page, over it, into one that is not there.</summary>
    [Theory]
    [InlineData(4096 - 10, true)]
    [InlineData(4096 - 9, true)]
    [InlineData(4096 - 1, true)]
    [InlineData(8192 - 10, true)]
    [InlineData(8192 - 9, false)]
    public void TenBytesAtAPagesEnd(int offset, bool there)
    {
        using var machine = new X87Machine(64);
        byte* from = machine.At(X87Machine.Data);
        ReadOnlySpan<byte> one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F];
        one.CopyTo(new Span<byte>(from + 64, 10));
        // fld m80 [rsi + 64]; fstp m80 [rsi + offset]; fld1
        bool done = machine.Run([0xDB, 0x6E, 0x40, 0xDB, 0xBE, .. BitConverter.GetBytes(offset), 0xD9, 0xE8]);
        Assert.Equal(there, done);
        X87State* f = &machine.State->X87;
        // What did not get there has not been popped.
        Assert.Equal((7, 0x80), (f->Top, (int)f->Tags));
        if (there)
        {
            Assert.True(one.SequenceEqual(new ReadOnlySpan<byte>(from + offset, 10)));
        }
    }

    /// <summary>A control word that unmasks something holds at once, also in the middle of code that ran masked.</summary>
    [Fact]
    public void UnmaskingInTheMiddleRaisesTheException()
    {
        using var machine = new X87Machine(64);
        *(ushort*)machine.At(X87Machine.Data) = 0x37B;
        // fld1; fldz; fdiv st1, st0 (masked); fnclex; fldcw [rsi]; fld1; fldz; fdivp; fld1
        Assert.False(machine.Run(
            [0xD9, 0xE8, 0xD9, 0xEE, 0xDC, 0xF9, 0xDB, 0xE2, 0xD9, 0x2E, 0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9, 0xD9, 0xE8]));
        Assert.Contains("#MF", machine.Fault, StringComparison.Ordinal);
        Assert.Equal(X87Machine.Code + 14, machine.State->X87.InstructionPointer);
    }

    /// <summary>What comes between x87 instructions and is not for the host's unit: the state goes there and back.</summary>
    [Fact]
    public void InterpretedInstructionsInBetweenSeeTheSameState()
    {
        using var machine = new X87Machine(64);
        // fldpi; fld1; fnsave [rsi]; frstor [rsi]; fadd; mov eax, 1; movd mm0, eax; emms; fnstenv [rsi + 128]
        Assert.True(machine.Run([0xD9, 0xEB, 0xD9, 0xE8, 0xDD, 0x36, 0xDD, 0x26, 0xDC, 0xC1, 0xB8, 1, 0, 0, 0, 0x0F, 0x6E, 0xC0, 0x0F, 0x77,
            0xD9, 0xB6, 0x80, 0, 0, 0]), machine.Fault);
        X87State* f = &machine.State->X87;
        Assert.Equal((0, 0, 0x4C1), (f->Top, (int)f->Tags, (int)f->Opcode));
        Assert.Equal(new Float80(1, 0xFFFF), f->GetPhysical(0));
        Assert.Equal(new Float80(0x8487_ED51_10B4_611A, 0x4001), f->GetPhysical(7));
    }

    /// <summary>Encodings that both have and whose whole effect is defined, with exceptions masked. Memory forms end with a displacement to be filled in.</summary>
    private static IEnumerable<byte[]> Forms(bool registers)
    {
        for (int escape = 0xD8; escape <= 0xDF; escape++)
        {
            for (int modrm = registers ? 0xC0 : RsiWithByte; modrm < (registers ? 0x100 : 0x80); modrm += registers ? 1 : 8)
            {
                byte[] bytes = registers ? [(byte)escape, (byte)modrm] : [(byte)escape, (byte)modrm, 0];
                Instruction instruction = X87Codes.Decode(bytes);
                if (X87Codes.IsCompared(in instruction) && instruction.Mnemonic is not (Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos or Mnemonic.Fptan
                    or Mnemonic.Fpatan or Mnemonic.F2xm1 or Mnemonic.Fyl2x or Mnemonic.Fyl2xp1 or Mnemonic.Fbld or Mnemonic.Fldcw or Mnemonic.Fnstsw
                    or Mnemonic.Fninit))
                {
                    yield return bytes;
                }
            }
        }
    }

    private static bool MovesPointers(byte[] form) => X87Codes.Decode(form).Mnemonic is not (Mnemonic.Fnstcw or Mnemonic.Fnclex or Mnemonic.Fneni
        or Mnemonic.Fndisi or Mnemonic.Fnsetpm);

    private static void FillMemory(OperandSource source, byte* memory)
    {
        *(ulong*)memory = source.Double();
        *(ulong*)(memory + 16) = source.Bits32();
        Float80 value = source.Float80();
        *(ulong*)(memory + 32) = value.Significand;
        *(ulong*)(memory + 40) = value.SignExponent;
        *(long*)(memory + 48) = (long)source.Bits64() >> source.Below(64);
    }
}
