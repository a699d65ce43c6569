using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// The first op of a block that may be translated. <see cref="Op.Immediate"/> counts down; <see cref="Op.AddressMask"/> is the block's physical
/// address, <see cref="Op.Displacement"/> its bytes, <see cref="Op.Source"/> its ops, this one included; <see cref="Op.Scale"/> tells what has become of it.
/// </summary>
internal static unsafe class HotBlock
{
    /// <summary>Values of <see cref="Op.Scale"/>: handlers cannot be compared.</summary>
    public const byte Counts = 1;
    public const byte Translated = 2;
    public const byte Passes = 3;

    /// <summary><see cref="Op.Source"/> of a block of which only the way into its translation is known.</summary>
    public const ushort WayOnly = 1;

    public static Op* Count(CpuState* s, Op* o)
    {
        if (--o->Immediate == 0)
        {
            return Translate(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Notes what the block was decoded from: another processor may write to it before this one is told.</summary>
    public static void Sign(Op* o, ReadOnlySpan<byte> code) => Sign(o, Sum(code));

    public static void Sign(Op* o, uint sum)
    {
        o->Base = (ushort)sum;
        o->Index = (ushort)(sum >> 16);
    }

    /// <summary>An immediate of the block has become another. What is amended so may well be again: only if it then runs often is it worth translating.</summary>
    public static void Amend(Op* o, ReadOnlySpan<byte> code, int threshold)
    {
        Sign(o, code);
        if (o->Scale == Counts)
        {
            o->Immediate = (ulong)threshold;
        }
    }

    /// <summary>Whether these are the bytes that the block was decoded from.</summary>
    public static bool IsOf(Op* o, ReadOnlySpan<byte> code) => IsOf(o, Sum(code));

    public static bool IsOf(Op* o, uint sum) => (((uint)o->Index << 16) | o->Base) == sum;

    /// <summary>For this process only.</summary>
    public static uint Sum(ReadOnlySpan<byte> code)
    {
        HashCode hash = default;
        hash.AddBytes(code);
        return (uint)hash.ToHashCode();
    }

    /// <summary>Where a block's ops moved to: links that lead to the old place lead on.</summary>
    public static Op* Moved(CpuState* s, Op* o) => o->Taken;

    /// <summary>There is nothing to translate.</summary>
    public static void GiveUp(Op* o)
    {
        o->Handler = &Pass;
        o->Scale = Passes;
    }

    /// <summary>What it becomes if it cannot be translated.</summary>
    private static Op* Pass(CpuState* s, Op* o)
    {
        o++;
        return o->Handler(s, o);
    }

    private static Op* Translate(CpuState* s, Op* o)
    {
        // Translating may forget all blocks, this one too: the outer loop finds its way again.
        s->LinkSlot = null;
        Processor.Of(s).Translator!.Translate(o);
        return null;
    }
}
