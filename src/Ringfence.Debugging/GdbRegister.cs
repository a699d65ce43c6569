using System.Buffers.Binary;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>One register as gdb knows it.</summary>
/// <param name="Type">As target descriptions name it.</param>
/// <param name="Group">Empty, or what gdb sorts it under.</param>
/// <param name="Get">Writes its value, little-endian.</param>
/// <param name="Set">The state with another value.</param>
internal sealed record GdbRegister(string Name, int Bytes, string Type, string Group, GdbRegister.Reader Get, GdbRegister.Writer Set)
{
    public delegate void Reader(VcpuState state, Span<byte> value);

    public delegate VcpuState Writer(VcpuState state, ReadOnlySpan<byte> value);

    /// <summary>A register that is a number of up to 64 bits.</summary>
    public static GdbRegister Number(
        string name, int bytes, string type, Func<VcpuState, ulong> get, Func<VcpuState, ulong, VcpuState> set, string group = "") =>
        new(name, bytes, type, group, (state, value) => Put(value, get(state)), (state, value) => set(state, Take(value)));

    /// <summary>Numbers of 1 to 8 bytes.</summary>
    public static void Put(Span<byte> to, ulong value)
    {
        Span<byte> whole = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(whole, value);
        whole[..to.Length].CopyTo(to);
    }

    public static ulong Take(ReadOnlySpan<byte> from)
    {
        Span<byte> whole = stackalloc byte[8];
        whole.Clear();
        from.CopyTo(whole);
        return BinaryPrimitives.ReadUInt64LittleEndian(whole);
    }
}
