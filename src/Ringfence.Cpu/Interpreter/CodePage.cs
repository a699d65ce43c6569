using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter.Handlers;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Where a block's ops are in the arena. When its code was changed the place stays its own: decoded anew it goes there, so that links are right again.</summary>
/// <param name="Room">How many ops there is room for.</param>
/// <param name="IsValid">The ops are what the code says.</param>
internal readonly record struct BlockPlace(int At, ushort Room, bool IsValid);

/// <summary>The blocks that were decoded from one page of RAM. Whether a write may concern one is asked of 64-byte granules first.</summary>
internal sealed unsafe class CodePage
{
    private const int Granule = 64;

    private readonly List<Block> _blocks = [];
    private ulong _granules;

    /// <summary>Other processors know that this one has code of the page.</summary>
    public bool IsHeld { get; set; }

    /// <summary>It is on the list of pages to be looked through when all is forgotten.</summary>
    public bool IsListed { get; set; }

    public bool HasBlocks => _blocks.Count != 0;

    public void Add(in Block block)
    {
        _granules |= Granules(block.Offset, block.Bytes);
        _blocks.Add(block);
    }

    /// <summary>Whether blocks may have been decoded from the granules which some bytes lie in.</summary>
    public bool HasBlocksFrom(int offset, int bytes) => (_granules & Granules(offset, bytes)) != 0;

    public void DropAll(Dictionary<ulong, BlockPlace> places)
    {
        foreach (ref readonly Block block in CollectionsMarshal.AsSpan(_blocks))
        {
            Drop(in block, places);
        }
        _blocks.Clear();
        _granules = 0;
    }

    /// <summary>Drops the blocks that some of the bytes written belong to, but for those in which no more than an immediate has changed.</summary>
    /// <param name="page">The page as it is now.</param>
    /// <param name="threshold">How often an amended block is run before it is translated.</param>
    public void Drop(int offset, int bytes, byte* page, Dictionary<ulong, BlockPlace> places, int threshold)
    {
        int kept = 0;
        bool all = true;
        foreach (ref readonly Block block in CollectionsMarshal.AsSpan(_blocks))
        {
            if (offset < block.Offset + block.Bytes && block.Offset < offset + bytes && !TryAmend(in block, offset, bytes, page, threshold))
            {
                Drop(in block, places);
                all = false;
                continue;
            }
            if (!all)
            {
                _blocks[kept] = block;
            }
            kept++;
        }
        if (!all)
        {
            _blocks.RemoveRange(kept, _blocks.Count - kept);
            _granules = 0;
            foreach (ref readonly Block block in CollectionsMarshal.AsSpan(_blocks))
            {
                _granules |= Granules(block.Offset, block.Bytes);
            }
        }
    }

    /// <summary>Each of its ops leaves the block when it is come to.</summary>
    private static void Drop(in Block block, Dictionary<ulong, BlockPlace> places)
    {
        if (block.Count == 0)
        {
            // Only a translation was made of it.
            return;
        }
        // The key may be a newer block's already, when this one reached over two pages; that one is then decoded once more.
        ref BlockPlace place = ref CollectionsMarshal.GetValueRefOrAddDefault(places, block.Key, out _);
        place = place with { IsValid = false };
        // It may have been a way into a translation, and is none any more.
        ((Op*)block.Ops)->Scale = HotBlock.Passes;
        for (int op = 0; op < block.Count; op++)
        {
            ((Op*)block.Ops)[op].Handler = &ControlFlow.Stale;
        }
    }

    private static bool TryAmend(in Block block, int offset, int bytes, byte* page, int threshold)
    {
        byte* code = page + block.Offset;
        if (!block.IsWhole || !ImmediateField.TryAmend((Op*)block.Ops, block.Count, code, offset - block.Offset, bytes))
        {
            return false;
        }
        if (block.Hot >= 0)
        {
            HotBlock.Amend((Op*)block.Ops + block.Hot, new ReadOnlySpan<byte>(code, block.Bytes), threshold);
        }
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Granules(int offset, int bytes)
    {
        int first = offset / Granule;
        int last = Math.Min((offset + bytes - 1) / Granule, 63);
        return (ulong.MaxValue >> (63 - last)) & (ulong.MaxValue << first);
    }

    /// <summary>There are tens of thousands, so each byte counts.</summary>
    /// <param name="Key">In the dictionary of blocks.</param>
    /// <param name="Offset">Where in the page.</param>
    /// <param name="Bytes">How many, of those in this page.</param>
    /// <param name="Hot">Which of its ops is its <see cref="HotBlock"/>; -1 if none.</param>
    /// <param name="IsWhole">It lies in this page alone.</param>
    internal readonly record struct Block(ulong Key, nint Ops, ushort Offset, ushort Bytes, ushort Count, short Hot, bool IsWhole);
}
