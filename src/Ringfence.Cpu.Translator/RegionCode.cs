using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Translator;

/// <summary>Where translated code goes when it leaves.</summary>
internal enum ExitKind : byte
{
    /// <summary>To an instruction's op, and on from there.</summary>
    Op,
    /// <summary>To an instruction's op, and back to what comes after it.</summary>
    Aside,
    /// <summary>To a block of the page that may be translated some day: then the jump before the exit leads there.</summary>
    Edge,
}

/// <summary>
/// A way out of a region, known by what it means and not by an op's address: so the same code serves at another place, for another processor, in another
/// run. The first time through, <see cref="NativeExits"/> finds the op, and writes it where the code looks for it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RegionExit
{
    /// <summary>Bytes from the edge's op back to the displacement of its jump.</summary>
    public const int EdgeJump = 9;

    /// <summary>Of the op's address in the region's code.</summary>
    public int Position;
    /// <summary>Where the code goes on after an instruction that ran aside.</summary>
    public int Resume;
    /// <summary>The number of the op among its block's, and how many ops the instruction has.</summary>
    public ushort Op;
    public byte Ops;
    public ExitKind Kind;
    /// <summary>The number of the block among the region's.</summary>
    public byte Block;
    /// <summary>Instructions of the block, and bytes, that come before.</summary>
    public byte Ordinal;
    public ushort IpOffset;
}

/// <summary>A block of a region, as far as it is known without the region's instructions.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RegionEntry
{
    /// <summary>For <see cref="Library.TranslationLibrary"/>: what finds it.</summary>
    public ulong Key;
    /// <summary>In its page.</summary>
    public ushort Offset;
    public ushort Bytes;
    /// <summary>Flags that are read after its start.</summary>
    public int LiveIn;
    /// <summary>All of these in the region's code: where it is entered, where it leaves when it is worth nothing any more, and where its code lies.</summary>
    public int Way;
    public int Stale;
    public int CodeStart;
    public int CodeEnd;

    /// <summary>It is no block, but bytes that the code depends on all the same: see <see cref="Region.Witnesses"/>.</summary>
    public readonly bool IsWitness => LiveIn < 0;
}

/// <summary>A region's code in the code memory of one processor.</summary>
internal sealed class RegionCode(int start, ulong page, uint mode, RegionEntry[] entries, RegionExit[] exits)
{
    /// <summary>Position in the code memory.</summary>
    public int Start => start;

    /// <summary>The physical address of the guest's page.</summary>
    public ulong Page => page;

    public uint Mode => mode;

    public RegionEntry[] Entries => entries;

    public RegionExit[] Exits => exits;

    /// <summary>For each block the first of its ops, 0 while they are not known.</summary>
    public nint[] Ops { get; } = new nint[entries.Length];

    /// <summary>For each block the sum of what it was made of, in the interpreter's way (<see cref="Interpreter.Handlers.HotBlock.Sum"/>). Empty if all ops are known.</summary>
    public uint[] Sums { get; init; } = [];

    /// <summary>The guest's code has changed.</summary>
    public bool IsStale { get; set; }
}
