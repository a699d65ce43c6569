using System.Buffers.Binary;
using System.Globalization;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>The x87's registers as gdb knows them: ST(0) to ST(7), and eight of 32 bits that FSTENV would store.</summary>
internal static class X87Registers
{
    private const string Group = "float";
    private const int RegisterBytes = 10;

    public static IEnumerable<GdbRegister> All()
    {
        for (int i = 0; i < 8; i++)
        {
            int index = i;
            yield return new GdbRegister(
                string.Create(CultureInfo.InvariantCulture, $"st{i}"), RegisterBytes, "i387_ext", "", (s, value) => Get(s.Fpu.Stack[index], value), (s, value) => Set(s, index, value));
        }
        yield return Word("fctrl", f => f.ControlWord, (f, v) => f with { ControlWord = (ushort)v });
        yield return Word("fstat", f => f.StatusWord, (f, v) => f with { StatusWord = (ushort)v });
        yield return Word("ftag", FullTags, (f, v) => f with { Tags = ShortTags(v) });
        yield return Word("fiseg", f => f.InstructionSelector, (f, v) => f with { InstructionSelector = (ushort)v });
        yield return Word("fioff", f => (uint)f.InstructionPointer, (f, v) => f with { InstructionPointer = v });
        yield return Word("foseg", f => f.DataSelector, (f, v) => f with { DataSelector = (ushort)v });
        yield return Word("fooff", f => (uint)f.DataPointer, (f, v) => f with { DataPointer = v });
        yield return Word("fop", f => f.Opcode, (f, v) => f with { Opcode = (ushort)(v & 0x7FF) });
    }

    /// <summary>Two bits for each physical register: 0 valid, 1 zero, 2 special, 3 empty (SDM 1 8.1.7).</summary>
    internal static uint FullTags(FpuState fpu)
    {
        int top = (fpu.StatusWord >> 11) & 7;
        uint word = 0;
        for (int physical = 7; physical >= 0; physical--)
        {
            X87Register value = fpu.Stack[(physical - top) & 7];
            int exponent = value.SignExponent & 0x7FFF;
            uint tag = (fpu.Tags & (1 << physical)) == 0 ? 3u
                : exponent == 0 && value.Significand == 0 ? 1u
                : exponent is 0 or 0x7FFF || (long)value.Significand >= 0 ? 2u : 0u;
            word = (word << 2) | tag;
        }
        return word;
    }

    private static byte ShortTags(uint word)
    {
        int tags = 0;
        for (int i = 0; i < 8; i++)
        {
            tags |= ((word >> (2 * i)) & 3) != 3 ? 1 << i : 0;
        }
        return (byte)tags;
    }

    private static GdbRegister Word(string name, Func<FpuState, uint> get, Func<FpuState, uint, FpuState> set) =>
        GdbRegister.Number(name, 4, "int", s => get(s.Fpu), (s, v) => s with { Fpu = set(s.Fpu, (uint)v) }, Group);

    private static void Get(X87Register register, Span<byte> value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(value, register.Significand);
        BinaryPrimitives.WriteUInt16LittleEndian(value[8..], register.SignExponent);
    }

    private static VcpuState Set(VcpuState state, int index, ReadOnlySpan<byte> value)
    {
        X87Register[] stack = [.. state.Fpu.Stack];
        stack[index] = new X87Register(BinaryPrimitives.ReadUInt64LittleEndian(value), BinaryPrimitives.ReadUInt16LittleEndian(value[8..]));
        return state with { Fpu = state.Fpu with { Stack = stack } };
    }
}
