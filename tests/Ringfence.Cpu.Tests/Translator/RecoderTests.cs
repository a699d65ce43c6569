using Iced.Intel;
using Ringfence.Cpu.Translator;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.Translator;

/// <summary>Instructions written again with other registers and another memory operand are what was asked for, and otherwise as they were.</summary>
public sealed unsafe class RecoderTests
{
    private const int Wanted = 20_000;
    private const int Longest = 15;

    [Theory]
    [InlineData(64, 0x62, 1500)]
    [InlineData(32, 0x62, 1200)]
    [InlineData(64, 0xC4, 500)]
    [InlineData(32, 0xC4, 400)]
    [InlineData(64, 0xC5, 200)]
    public void VectorInstructionsAreRewritten(int bits, int prefix, int forms)
    {
        Assert.SkipUnless(TranslatorFactory.IsSupported, "machine code is written on x86-64 Linux hosts");
        var random = new Random(prefix + bits);
        using var memory = new CodeMemory(1 << 16);
        var emitter = new Emitter(memory);
        var recoder = new Recoder(emitter);
        var seen = new HashSet<Code>();
        byte[] bytes = new byte[Longest];
        Span<int> registers = stackalloc int[8];
        for (int done = 0; done < Wanted;)
        {
            random.NextBytes(bytes);
            bytes[0] = (byte)prefix;
            Shape(bytes, bits, random);
            Instruction from = Decode(bits, bytes);
            CodeForm form = CodeForm.Of(from.Code);
            if (from.IsInvalid || !form.HasModRm || form.Fields.Contains(Field.Elsewhere) || form.Encoding is not (EncodingKind.EVEX or EncodingKind.VEX) || from.MemoryBase.GetSize() == 2
                || from.MemoryIndex.GetSize() == 2 || from.MemoryDisplSize == 2 || NamesGroups(from.Code))
            {
                continue;
            }
            done++;
            HostOperand operand = HostOperand.None;
            int displacement = random.Next(3) switch { 0 => 0, 1 => random.Next(-128, 128), _ => random.Next(int.MinValue, int.MaxValue) };
            for (int i = 0; i < form.Fields.Length; i++)
            {
                registers[i] = -1;
                if (from.GetOpKind(i) == OpKind.Memory)
                {
                    int index = random.Next(16);
                    operand = index == 4 ? new(random.Next(16), displacement) : new(random.Next(16), displacement, index, random.Next(4));
                }
                else if (form.Fields[i] != Field.None)
                {
                    registers[i] = random.Next(Numbers(from.GetOpRegister(i), form.Encoding));
                }
            }
            emitter.Position = 0;
            fixed (byte* code = bytes)
            {
                Assert.True(recoder.Write(code, bits == 64, in from, form, registers, operand));
            }
            byte[] written = new ReadOnlySpan<byte>(memory.Write, emitter.Position).ToArray();
            Instruction to = Decode(64, written, DecoderOptions.NoInvalidCheck);
            string what = $"{Convert.ToHexString(bytes)} {from} -> {Convert.ToHexString(written)} {to}";
            Assert.True(written.Length == to.Length && from.Code == to.Code, what);
            Assert.True(from.OpMask == to.OpMask && from.ZeroingMasking == to.ZeroingMasking && from.IsBroadcast == to.IsBroadcast
                && from.RoundingControl == to.RoundingControl && from.SuppressAllExceptions == to.SuppressAllExceptions
                && from.MemorySize == to.MemorySize, what);
            for (int i = 0; i < form.Fields.Length; i++)
            {
                bool same = to.GetOpKind(i) switch
                {
                    OpKind.Memory => to.MemoryBase == Register.RAX + operand.Base
                        && to.MemoryIndex == (operand.Index < 0 ? Register.None : Register.RAX + operand.Index)
                        && to.MemoryIndexScale == 1 << operand.Scale && (int)to.MemoryDisplacement64 == displacement,
                    OpKind.Register when form.Fields[i] != Field.None => to.GetOpRegister(i).GetNumber() == registers[i]
                        && to.GetOpRegister(i).GetSize() == from.GetOpRegister(i).GetSize(),
                    OpKind.Register => to.GetOpRegister(i) == from.GetOpRegister(i),
                    _ => to.GetImmediate(i) == from.GetImmediate(i),
                };
                Assert.True(same && to.GetOpKind(i) == from.GetOpKind(i), what);
            }
            seen.Add(from.Code);
        }
        Assert.True(seen.Count >= forms, $"{seen.Count} forms");
    }

    /// <summary>A general register that lives in memory cannot take part in an operation that is told how to round.</summary>
    [Fact]
    public void RoundingIsNoBroadcast()
    {
        Assert.SkipUnless(TranslatorFactory.IsSupported, "machine code is written on x86-64 Linux hosts");
        byte[] code = [0x62, 0xF1, 0xF7, 0x18, 0x2A, 0xC0]; // vcvtsi2sd xmm0, xmm1, rax, {rn-sae}
        Instruction instruction = Decode(64, code);
        Assert.Equal(Code.EVEX_Vcvtsi2sd_xmm_xmm_rm64_er, instruction.Code);
        using var memory = new CodeMemory(1 << 16);
        var emitter = new Emitter(memory);
        fixed (byte* bytes = code)
        {
            Assert.False(new Recoder(emitter).Write(bytes, true, in instruction, CodeForm.Of(instruction.Code), [0, 1, -1], new HostOperand(15, 64)));
        }
        Assert.Equal(0, emitter.Position);
    }

    /// <summary>SDM 2 2.3.5, 2.3.8: bits that 64-bit code alone knows.</summary>
    [Theory]
    [InlineData("C4E1F96EC0", Code.VEX_Vmovd_xmm_rm32)] // vmovd xmm0, eax with W
    [InlineData("C4E3694AC3F0", Code.VEX_Vblendvps_xmm_xmm_xmmm128_xmm)] // vblendvps xmm0, xmm2, xmm3, xmm7 with the topmost bit of four
    public void BitsWithoutMeaningIn32BitCodeHaveNoneAfterwards(string hex, Code expected)
    {
        Assert.SkipUnless(TranslatorFactory.IsSupported, "machine code is written on x86-64 Linux hosts");
        byte[] code = Convert.FromHexString(hex);
        Instruction from = Decode(32, code);
        CodeForm form = CodeForm.Of(from.Code);
        Assert.Equal(expected, from.Code);
        using var memory = new CodeMemory(1 << 16);
        var emitter = new Emitter(memory);
        int[] registers = [.. Enumerable.Range(0, form.Fields.Length).Select(i => form.Fields[i] == Field.None ? -1 : from.GetOpRegister(i).GetNumber())];
        fixed (byte* bytes = code)
        {
            Assert.True(new Recoder(emitter).Write(bytes, false, in from, form, registers, HostOperand.None));
        }
        Instruction to = Decode(64, new ReadOnlySpan<byte>(memory.Write, emitter.Position).ToArray());
        Assert.Equal(from.ToString(), to.ToString());
        Assert.Equal(expected, to.Code);
    }

    /// <summary>Some want operands to be different registers, which those chosen here need not be.</summary>
    private static Instruction Decode(int bits, byte[] bytes, DecoderOptions options = DecoderOptions.None)
    {
        var decoder = Decoder.Create(bits, new ByteArrayCodeReader(bytes), options);
        decoder.Decode(out Instruction instruction);
        return instruction;
    }

    /// <summary>Makes it likelier that random bytes mean something: reserved bits, and in 32-bit code what tells the prefix from LDS, LES and BOUND.</summary>
    private static void Shape(byte[] bytes, int bits, Random random)
    {
        if (bytes[0] == 0x62)
        {
            bytes[1] = (byte)((bytes[1] & 0xF0) | random.Next(1, 7));
            bytes[2] |= 4;
            bytes[3] = random.Next(2) == 0 ? bytes[3] : (byte)(bytes[3] | 8);
        }
        else if (bytes[0] == 0xC4)
        {
            bytes[1] = (byte)((bytes[1] & 0xE0) | random.Next(1, 4));
        }
        if (random.Next(2) == 0)
        {
            // An operation of two operands.
            bytes[bytes[0] == 0xC5 ? 1 : 2] |= 0x78;
        }
        if (bits == 32)
        {
            bytes[1] |= 0xC0;
        }
    }

    private static int Numbers(Register register, EncodingKind encoding) => register.IsK() || register.IsMM() ? 8
        : register.IsVectorRegister() && encoding == EncodingKind.EVEX ? 32 : 16;

    /// <summary>Operands that are two or four registers, of which the number tells the first.</summary>
    private static bool NamesGroups(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        for (int i = 0; i < info.OpCount; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            if (kind.Contains("p1", StringComparison.Ordinal) || kind.Contains("p3", StringComparison.Ordinal) || kind.StartsWith("tmm", StringComparison.Ordinal)
                || kind.Contains("sibmem", StringComparison.Ordinal))
            {
                return true;
            }
        }
        return false;
    }
}
