using System.Runtime.InteropServices;
using Iced.Intel;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>
/// A displacement or immediate of 32 bits in the guest's code whose value shows only as such in the host's: there it stands as it is or with something added. Code that
/// differs in nothing else is served by the same image: a kernel that was loaded elsewhere (KASLR).
/// </summary>
internal sealed class MovableField(int block, int position, bool isDisplacement)
{
    public const int Bytes = sizeof(int);
    /// <summary>Displacements nearer to 0 may have shorter forms.</summary>
    private const int LeastDisplacement = 1 << 16;
    /// <summary>What is added may not make them overflow.</summary>
    private const int GreatestDisplacement = int.MaxValue - (1 << 13);

    /// <summary>The number of its block, and where it lies in that.</summary>
    public int Block => block;

    public int Position => position;

    public bool IsDisplacement => isDisplacement;

    /// <summary>In the image.</summary>
    public int Number { get; set; }

    /// <summary>Something was made of its value: it does not move.</summary>
    public bool IsFixed { get; set; }

    /// <summary>Fields of one class move by the same distance; -1 for one that moves alone.</summary>
    public int Class { get; set; } = -1;

    /// <summary>Whether code is the same for this value as for others.</summary>
    public static bool MayBe(int value, bool displacement) => !displacement || Math.Abs((long)value) is >= LeastDisplacement and <= GreatestDisplacement;

    /// <summary>Notes an instruction's fields of a region of 64-bit code.</summary>
    public static void Note(GuestInstruction i, in ConstantOffsets offsets, ReadOnlySpan<byte> code, RegionBlock block, List<MovableField> fields)
    {
        int from = i.Offset - block.Offset;
        if (offsets.HasDisplacement && offsets.DisplacementSize == Bytes && HasPlainDisplacement(i)
            && MayBe(MemoryMarshal.Read<int>(code[offsets.DisplacementOffset..]), true))
        {
            i.Displacement = new MovableField(block.Number, from + offsets.DisplacementOffset, true);
            fields.Add(i.Displacement);
        }
        if (offsets.HasImmediate && offsets.ImmediateSize == Bytes && HasPlainImmediate(i))
        {
            i.Immediate = new MovableField(block.Number, from + offsets.ImmediateOffset, false);
            fields.Add(i.Immediate);
        }
    }

    /// <summary>Not where a register's value is followed by it (<see cref="RegisterSum"/>).</summary>
    private static bool HasPlainDisplacement(GuestInstruction i) => i.Kind switch
    {
        NativeKind.General or NativeKind.Vector or NativeKind.Mmx or NativeKind.X87 or NativeKind.Divide or NativeKind.Push or NativeKind.Call or NativeKind.Jump
            => RegionCompiler.MemoryIndex(i) >= 0 && RegionCompiler.IsWide(in i.Decoded, true),
        NativeKind.LoadAddress => RegionCompiler.IsWide(in i.Decoded, true) && RegisterSum.Of(in i.Decoded, true) is null,
        _ => false,
    };

    private static bool HasPlainImmediate(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        return d.OpCount > 0 && d.GetOpKind(d.OpCount - 1) is OpKind.Immediate32 or OpKind.Immediate32to64
            && (i.Kind == NativeKind.Push || (i.Kind == NativeKind.General && RegisterSum.Of(in d, true) is null));
    }

    /// <summary>Operands that have one look in common lie at distances that are in the code: their fields move together, or not at all.</summary>
    public static void Join(RegionBlock block, ref int classes)
    {
        if (block.Run != null)
        {
            foreach (GuestInstruction i in block.Instructions)
            {
                Fix(i);
            }
            return;
        }
        Dictionary<AccessGroup, int>? known = null;
        const int Fixed = -1;
        foreach (GuestInstruction i in block.Instructions)
        {
            if (i.Stack?.Group is { } stack)
            {
                (known ??= [])[stack] = Fixed;
            }
            if (i.Operand?.Group is { } group)
            {
                if (i.Displacement == null)
                {
                    (known ??= [])[group] = Fixed;
                }
                else if ((known ??= []).TryAdd(group, classes))
                {
                    classes++;
                }
            }
        }
        if (known != null)
        {
            foreach (GuestInstruction i in block.Instructions)
            {
                if (i.Displacement != null && i.Operand?.Group is { } group)
                {
                    i.Displacement.Class = known[group];
                    i.Displacement.IsFixed = known[group] == Fixed;
                }
            }
        }
    }

    private static void Fix(GuestInstruction i)
    {
        if (i.Displacement != null)
        {
            i.Displacement.IsFixed = true;
        }
    }
}

/// <summary>A field as an image has it.</summary>
/// <param name="Guest">Where it lies among the bytes of all blocks.</param>
/// <param name="Class">As <see cref="MovableField.Class"/>.</param>
/// <param name="Displacement">1 for a displacement.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct ImageField(int Guest, short Class, short Displacement);

/// <param name="At">Position in the host's code of 32 bits that hold a field's value, or that and something.</param>
/// <param name="Field">The field's number.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FieldReference(int At, int Field);
