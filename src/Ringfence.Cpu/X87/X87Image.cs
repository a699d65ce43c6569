using System.Buffers.Binary;

namespace Ringfence.Cpu.X87;

/// <summary>
/// The memory images of FSTENV, FSAVE and FXSAVE (SDM vol. 1, 8.1.10 and 10.5.1). The widths are those of the operand size; "real"
/// means real-address or virtual-8086 mode, where pointers are linear and the opcode is stored.
/// </summary>
public static class X87Image
{
    /// <summary>28 or 14 bytes.</summary>
    public static int EnvironmentSize(bool wide) => wide ? 28 : 14;

    /// <summary>108 or 94 bytes: the environment and eight registers of ten.</summary>
    public static int SaveSize(bool wide) => EnvironmentSize(wide) + 80;

    /// <summary>Writes what FNSTENV stores. The caller masks all exceptions afterwards, as FNSTENV does: see <see cref="X87Unit.StoreEnvironment"/>.</summary>
    public static void WriteEnvironment(in X87State state, Span<byte> image, bool wide, bool real)
    {
        uint ip = (uint)state.InstructionPointer, dp = (uint)state.DataPointer;
        if (real)
        {
            ip += (uint)state.InstructionSelector << 4;
            dp += (uint)state.DataSelector << 4;
        }
        uint opcode = state.Opcode & 0x7FFu;
        ReadOnlySpan<uint> fields = (wide, real) switch
        {
            (true, false) => [ip, state.InstructionSelector | (opcode << 16), dp, state.DataSelector | 0xFFFF0000],
            (true, true) => [(ushort)ip | 0xFFFF0000, opcode | (ip >> 16 << 12), (ushort)dp | 0xFFFF0000, dp >> 16 << 12],
            (false, false) => [ip, state.InstructionSelector, dp, state.DataSelector],
            (false, true) => [ip, opcode | ((ip >> 16 & 0xF) << 12), dp, (dp >> 16 & 0xF) << 12],
        };
        ReadOnlySpan<ushort> words = [state.ControlWord, state.StatusWord, state.FullTagWord];
        int at = 0;
        foreach (ushort word in words)
        {
            Put(image, ref at, wide, word | 0xFFFF0000);
        }
        foreach (uint field in fields)
        {
            Put(image, ref at, wide, field);
        }
    }

    /// <summary>Reads what FLDENV loads.</summary>
    public static void ReadEnvironment(ref X87State state, ReadOnlySpan<byte> image, bool wide, bool real)
    {
        int at = 0;
        state.ControlWord = (ushort)Get(image, ref at, wide);
        state.StatusWord = (ushort)Get(image, ref at, wide);
        state.FullTagWord = (ushort)Get(image, ref at, wide);
        uint ip = Get(image, ref at, wide), code = Get(image, ref at, wide), dp = Get(image, ref at, wide), data = Get(image, ref at, wide);
        if (real)
        {
            state.Opcode = (ushort)(code & 0x7FF);
            state.InstructionPointer = (ushort)ip | ((code >> 12 & (wide ? 0xFFFFu : 0xF)) << 16);
            state.DataPointer = (ushort)dp | ((data >> 12 & (wide ? 0xFFFFu : 0xF)) << 16);
            state.InstructionSelector = 0;
            state.DataSelector = 0;
        }
        else
        {
            state.InstructionPointer = ip;
            state.InstructionSelector = (ushort)code;
            state.DataPointer = dp;
            state.DataSelector = (ushort)data;
            if (wide)
            {
                state.Opcode = (ushort)(code >> 16 & 0x7FF);
            }
        }
        state.Normalize();
    }

    /// <summary>Writes what FNSAVE stores; the initialization that follows is the caller's: see <see cref="X87Unit.Save"/>.</summary>
    public static void WriteSave(in X87State state, Span<byte> image, bool wide, bool real)
    {
        WriteEnvironment(state, image, wide, real);
        WriteStack(state, image[EnvironmentSize(wide)..], 10);
    }

    /// <summary>Reads what FRSTOR loads.</summary>
    public static void ReadSave(ref X87State state, ReadOnlySpan<byte> image, bool wide, bool real)
    {
        ReadEnvironment(ref state, image, wide, real);
        ReadStack(ref state, image[EnvironmentSize(wide)..], 10);
    }

    /// <summary>Writes bytes 0-23 and 32-159 of an FXSAVE or XSAVE area; MXCSR and what follows are not the x87's.</summary>
    /// <param name="wide">REX.W: 64-bit pointers without selectors.</param>
    /// <param name="pointers">If not, opcode and pointers are written as 0.</param>
    public static void WriteFxsave(in X87State state, Span<byte> image, bool wide, bool pointers)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(image, state.ControlWord);
        BinaryPrimitives.WriteUInt16LittleEndian(image[2..], state.StatusWord);
        BinaryPrimitives.WriteUInt16LittleEndian(image[4..], state.Tags);
        BinaryPrimitives.WriteUInt16LittleEndian(image[6..], pointers ? state.Opcode : (ushort)0);
        ulong ip = pointers ? state.InstructionPointer : 0, dp = pointers ? state.DataPointer : 0;
        if (!wide && pointers)
        {
            ip = (uint)ip | ((ulong)state.InstructionSelector << 32);
            dp = (uint)dp | ((ulong)state.DataSelector << 32);
        }
        BinaryPrimitives.WriteUInt64LittleEndian(image[8..], ip);
        BinaryPrimitives.WriteUInt64LittleEndian(image[16..], dp);
        Span<byte> registers = image.Slice(32, 128);
        registers.Clear();
        WriteStack(state, registers, 16);
    }

    /// <summary>Reads bytes 0-23 and 32-159 of an FXSAVE or XSAVE area.</summary>
    public static void ReadFxsave(ref X87State state, ReadOnlySpan<byte> image, bool wide)
    {
        state.ControlWord = BinaryPrimitives.ReadUInt16LittleEndian(image);
        state.StatusWord = BinaryPrimitives.ReadUInt16LittleEndian(image[2..]);
        state.Tags = image[4];
        state.Opcode = (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(image[6..]) & 0x7FF);
        ulong ip = BinaryPrimitives.ReadUInt64LittleEndian(image[8..]), dp = BinaryPrimitives.ReadUInt64LittleEndian(image[16..]);
        state.InstructionPointer = wide ? Extend(ip) : (uint)ip;
        state.DataPointer = wide ? Extend(dp) : (uint)dp;
        state.InstructionSelector = wide ? (ushort)0 : (ushort)(ip >> 32);
        state.DataSelector = wide ? (ushort)0 : (ushort)(dp >> 32);
        state.Normalize();
        ReadStack(ref state, image.Slice(32, 128), 16);
    }

    /// <summary>Pointers are kept with 57 bits, and sign-extended.</summary>
    private static ulong Extend(ulong pointer) => (ulong)((long)(pointer << 7) >> 7);

    private static void WriteStack(in X87State state, Span<byte> image, int stride)
    {
        int top = state.Top;
        for (int i = 0; i < 8; i++)
        {
            Float80 value = state.GetPhysical(top + i);
            BinaryPrimitives.WriteUInt64LittleEndian(image[(i * stride)..], value.Significand);
            BinaryPrimitives.WriteUInt16LittleEndian(image[((i * stride) + 8)..], value.SignExponent);
        }
    }

    private static void ReadStack(ref X87State state, ReadOnlySpan<byte> image, int stride)
    {
        int top = state.Top;
        for (int i = 0; i < 8; i++)
        {
            state.SetPhysical(top + i, new Float80(
                BinaryPrimitives.ReadUInt64LittleEndian(image[(i * stride)..]),
                BinaryPrimitives.ReadUInt16LittleEndian(image[((i * stride) + 8)..])));
        }
    }

    private static void Put(Span<byte> image, ref int at, bool wide, uint value)
    {
        if (wide)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image[at..], value);
            at += 4;
        }
        else
        {
            BinaryPrimitives.WriteUInt16LittleEndian(image[at..], (ushort)value);
            at += 2;
        }
    }

    private static uint Get(ReadOnlySpan<byte> image, ref int at, bool wide)
    {
        uint value;
        if (wide)
        {
            value = BinaryPrimitives.ReadUInt32LittleEndian(image[at..]);
            at += 4;
        }
        else
        {
            value = BinaryPrimitives.ReadUInt16LittleEndian(image[at..]);
            at += 2;
        }
        return value;
    }
}
