using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter.Handlers;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Where a block's ops are. When its code was changed the place stays its own: decoded anew it goes there, so that links are right again.</summary>
/// <param name="Room">How many ops there is room for.</param>
/// <param name="IsValid">The ops are what the code says.</param>
internal readonly record struct BlockPlace(nint Ops, int Room, bool IsValid);

/// <summary>The blocks that were decoded from one page of RAM, known by the 64-byte granules that each was decoded from.</summary>
internal sealed class CodePage
{
    private const int Granule = 64;

    private readonly List<Entry> _blocks = [];
    private ulong _granules;

    /// <summary>Other processors know that this one has code of the page.</summary>
    public bool IsHeld { get; set; }

    /// <summary>It is on the list of pages to be looked through when all is forgotten.</summary>
    public bool IsListed { get; set; }

    public bool HasBlocks => _blocks.Count != 0;

    public unsafe void Add(int offset, int bytes, ulong key, Op* ops, int count)
    {
        ulong granules = Granules(offset, bytes);
        _granules |= granules;
        _blocks.Add(new Entry(granules, key, (nint)ops, count));
    }

    /// <summary>Whether blocks may have been decoded from the granules which some bytes lie in.</summary>
    public bool HasBlocksFrom(int offset, int bytes) => (_granules & Granules(offset, bytes)) != 0;

    /// <summary>Drops the blocks that were decoded from granules which some bytes lie in: each of their ops leaves the block when it is come to.</summary>
    public unsafe void Drop(int offset, int bytes, Dictionary<ulong, BlockPlace> places)
    {
        ulong written = Granules(offset, bytes);
        ulong rest = 0;
        for (int i = _blocks.Count - 1; i >= 0; i--)
        {
            Entry block = _blocks[i];
            if ((block.Granules & written) == 0)
            {
                rest |= block.Granules;
                continue;
            }
            _blocks[i] = _blocks[^1];
            _blocks.RemoveAt(_blocks.Count - 1);
            if (block.Count == 0)
            {
                // Only a translation was made of it.
                continue;
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
        _granules = rest;
    }

    private static ulong Granules(int offset, int bytes)
    {
        int first = offset / Granule;
        int last = Math.Min((offset + bytes - 1) / Granule, 63);
        return (ulong.MaxValue >> (63 - last)) & (ulong.MaxValue << first);
    }

    private readonly record struct Entry(ulong Granules, ulong Key, nint Ops, int Count);
}
