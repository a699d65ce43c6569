using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Layout = Ringfence.Cpu.Models.ExtendedStateLayout;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Where components lie in an area of one format.</summary>
/// <param name="compacted">The components that a compacted area has; null for the standard format.</param>
internal readonly ref struct ComponentPlaces(Layout layout, ulong? compacted)
{
    private readonly Layout _layout = layout;
    private readonly ulong? _compacted = compacted;

    public int Of(int component) => _compacted is { } components ? Layout.CompactOffset(components, component) : _layout.Offset(component);
}

/// <summary>
/// The components of the extended state that are vector registers or parts of them, but for SSE: AVX, opmasks, the upper halves of ZMM0 to ZMM15, ZMM16 to ZMM31.
/// Outside 64-bit code there are eight registers, and the last component is in its initial state (SDM 1 13.6).
/// </summary>
internal static unsafe class VectorComponents
{
    private const int Chunk = 16;

    /// <summary>Bytes of a buffer for the values of some components.</summary>
    public static int Room(ulong components) => (components & Layout.Avx512) != 0 ? 2048 : 256;

    /// <summary>Those of some components that are not in their initial state.</summary>
    public static ulong InUse(CpuState* s, ulong components)
    {
        ulong used = 0;
        for (int component = Layout.AvxNumber; component <= Layout.HighNumber; component++)
        {
            if (((components >> component) & 1) == 0)
            {
                continue;
            }
            DoubleQuadword any = default;
            for (int i = 0; i < Parts(s, component, out int bytes); i++)
            {
                for (int at = 0; at < bytes; at += Chunk)
                {
                    any |= *(DoubleQuadword*)(Part(s, component, i) + at);
                }
            }
            used |= any != default ? 1UL << component : 0;
        }
        return used;
    }

    /// <summary>False: a fault is recorded.</summary>
    public static bool Save(CpuState* s, int component, ulong linear)
    {
        for (int i = 0; i < Parts(s, component, out int bytes); i++)
        {
            for (int at = 0; at < bytes; at += Chunk)
            {
                if (!GuestAccess.Write(s, (linear + (ulong)((i * bytes) + at)) & s->LinearMask, *(DoubleQuadword*)(Part(s, component, i) + at)))
                {
                    return false;
                }
            }
        }
        return true;
    }

    /// <summary>Reads the components that are there into a buffer of zeros, each at its place.</summary>
    public static bool Fetch(CpuState* s, ulong linear, ulong loaded, in ComponentPlaces places, byte* buffer)
    {
        for (int component = Layout.AvxNumber; component <= Layout.HighNumber; component++)
        {
            if (((loaded >> component) & 1) == 0)
            {
                continue;
            }
            ulong from = linear + (ulong)places.Of(component);
            int all = Parts(s, component, out int bytes) * bytes;
            for (int at = 0; at < all; at += Chunk)
            {
                if (!GuestAccess.Read(s, (from + (ulong)at) & s->LinearMask, out DoubleQuadword value))
                {
                    return false;
                }
                *(DoubleQuadword*)(buffer + Place(component) + at) = value;
            }
        }
        return true;
    }

    /// <summary>From what <see cref="Fetch"/> has read to the registers.</summary>
    public static void Load(CpuState* s, ulong requested, byte* buffer)
    {
        for (int component = Layout.AvxNumber; component <= Layout.HighNumber; component++)
        {
            for (int i = 0; ((requested >> component) & 1) != 0 && i < Parts(s, component, out int bytes); i++)
            {
                new ReadOnlySpan<byte>(buffer + Place(component) + (i * bytes), bytes).CopyTo(new Span<byte>(Part(s, component, i), bytes));
            }
        }
    }

    /// <summary>In how many pieces of how many bytes a component's registers lie.</summary>
    private static int Parts(CpuState* s, int component, out int bytes)
    {
        int registers = ExtendedState.Registers(s);
        (int count, bytes) = component switch
        {
            Layout.AvxNumber => (registers, 16),
            Layout.OpmaskNumber => (1, 64),
            Layout.UpperNumber => (registers, 32),
            Layout.HighNumber => (registers == 16 ? 16 : 0, 64),
            _ => (0, 0),
        };
        return count;
    }

    private static byte* Part(CpuState* s, int component, int i) => component switch
    {
        Layout.OpmaskNumber => (byte*)s->Opmasks,
        Layout.HighNumber => s->Vectors + (Slots.VectorBytes * (16 + i)),
        _ => s->Vectors + (Slots.VectorBytes * i) + (component == Layout.AvxNumber ? 16 : 32),
    };

    /// <summary>In the buffer.</summary>
    private static int Place(int component) => component switch
    {
        Layout.AvxNumber => 0,
        Layout.OpmaskNumber => 256,
        Layout.UpperNumber => 512,
        _ => 1024,
    };
}
