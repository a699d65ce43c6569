using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>A processor has the instructions that its CPUID tells of (SDM 1 5.1.1): none of them ends in #UD for want of a handler.</summary>
public sealed unsafe class BindingTests
{
    /// <summary>What comes before the opcode: prefixes that are part of one, and the maps. Another encoding is another row.</summary>
    private static readonly byte[][] Starts =
    [
        .. from prefix in new byte[][] { [], [0x66], [0xF2], [0xF3] }
           from rex in new byte[][] { [], [0x48] }
           from map in new byte[][] { [], [0x0F], [0x0F, 0x38], [0x0F, 0x3A] }
           select (byte[])[.. prefix, .. rex, .. map],
    ];

    /// <summary>Instructions that are there to raise #UD, and RDPMC, since there are no performance counters.</summary>
    private static readonly HashSet<Mnemonic> Undefined = [Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2, Mnemonic.Rdpmc];

    [Theory]
    [InlineData(GuestMode.Long)]
    [InlineData(GuestMode.Protected32)]
    public void EveryAdvertisedInstructionIsBound(GuestMode mode)
    {
        using var guest = new Guest(mode);
        var set = new InstructionSet(CpuModel.Max);
        var binder = new Binder(guest.State, CpuModel.Max);
        var missing = new SortedSet<string>(StringComparer.Ordinal);
        var seen = new HashSet<Code>();
        foreach (byte[] start in Starts.Where(s => guest.Bits == 64 || !s.Contains((byte)0x48)))
        {
            byte[] bytes = new byte[16];
            start.CopyTo(bytes, 0);
            for (int tail = 0; tail < 0x1_0000; tail++)
            {
                bytes[start.Length] = (byte)(tail >> 8);
                bytes[start.Length + 1] = (byte)tail;
                Instruction instruction = Iced.Intel.Decoder.Create(guest.Bits, bytes, DecoderOptions.None).Decode();
                if (instruction.IsInvalid || set[instruction.Code] != Support.Present || Undefined.Contains(instruction.Mnemonic))
                {
                    continue;
                }
                seen.Add(instruction.Code);
                Op op = default;
                binder.Bind(instruction, &op, 0);
                if (binder.Refused)
                {
                    missing.Add($"{instruction.Code}: {Convert.ToHexString(bytes, 0, instruction.Length)}");
                }
            }
        }
        Assert.True(missing.Count == 0, string.Join('\n', missing));
        Assert.True(seen.Count > 1000, $"only {seen.Count} encodings");
        Assert.Contains(Code.Crc32_r32_rm8, seen);
        Assert.Contains(Code.Pcmpistri_xmm_xmmm128_imm8, seen);
    }
}
