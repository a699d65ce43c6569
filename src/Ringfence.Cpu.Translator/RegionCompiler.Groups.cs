namespace Ringfence.Cpu.Translator;

/// <summary>Memory operands that have one look at a site in common. Between the first and the last nothing can change what the site knows: all that does
/// happens outside of translated code, and where a block comes back from there its groups end.</summary>
internal sealed unsafe partial class RegionCompiler
{
    /// <summary>What <see cref="Host.Address"/> holds: the host address of what lies at an offset of a group.</summary>
    private (AccessGroup? Group, long Offset) _held;
    /// <summary>Each operand is looked for by itself.</summary>
    private bool _apart;
    /// <summary>Instructions in copies. There is a bound, since the code memory must hold the whole region.</summary>
    private int _copied;
    private const int MaximumCopied = 512;

    /// <summary>Whether an operand is to be looked for with its group.</summary>
    private bool Shares(MemoryAccess? access) =>
        !_apart && access?.Group is { } group && (group.Site >= 0 || _copied + _block.Instructions.Count <= MaximumCopied);

    /// <summary>Makes <see cref="Host.Address"/> a host address for an operand of a group; see <see cref="MemoryOperand"/>.</summary>
    /// <param name="aligned">What its address must be a multiple of.</param>
    /// <param name="linear">Brings its linear address, and so many bytes more, into <see cref="Host.Address"/>, and spoils no flags.</param>
    private int Share(GuestInstruction i, MemoryAccess access, int aligned, Action<int> linear)
    {
        AccessGroup group = access.Candidates;
        StoreLog? log = access.Write ? Log : null;
        bool test = !group.IsAligned(access.Offset, aligned);
        if (group.Site < 0 || test || log != null)
        {
            ClobberFlags(i.LiveBefore);
        }
        if (group.Site < 0)
        {
            linear((int)(group.Lowest - access.Offset));
            LookForAll(group);
            _held = (group, group.Lowest);
        }
        else if (_held.Group != group)
        {
            linear(0);
            _e.Load(Host.Scratch, group.Site + SiteOffsets.Addend);
            _e.Add(Host.Address, Host.Scratch);
            _held = (group, access.Offset);
        }
        int displacement = (int)(access.Offset - _held.Offset);
        if (displacement != 0 && (test || log != null))
        {
            _e.LoadAddress(true, Host.Address, Host.Address, displacement);
            _held.Offset = access.Offset;
            displacement = 0;
        }
        if (test)
        {
            TestAlignment(aligned - 1, LeaveLabel());
            group.NoteAligned(access.Offset, aligned);
        }
        log?.Write(_e, access.Bytes);
        return displacement;
    }

    /// <summary>If the whole range is not in a page that may be accessed in place, the rest of the block runs in a copy that looks for each operand by
    /// itself.</summary>
    private void LookForAll(AccessGroup group)
    {
        RegionBlock block = _block;
        int from = block.Instructions.IndexOf(_instruction);
        _copied += block.Instructions.Count - from;
        (FlagHome flags, int vectors, bool x87, X87Pointers pointers) = (_flags, _vectors, _x87, _pointers);
        int site = group.Site = _store.NewSite();
        Look(site, group.Span, back =>
        {
            AskForAll(site, group.Span, group.Write, back, () =>
            {
                (_block, _flags, _vectors, _x87, _pointers, _apart) = (block, flags, vectors, x87, pointers, true);
                Write(block, from, null);
                _apart = false;
            });
        });
    }

    /// <summary>Has a site filled for a range, and goes back with the host address, or on.</summary>
    private void AskForAll(int site, int span, bool write, Label back, Action otherwise)
    {
        _e.StoreImmediate(true, StateOffsets.LastFit, Region.PageBytes - span);
        _e.LoadAddress(true, Host.Scratch, Host.State, site - Host.StateBias);
        _e.Transfer(0xE8, _routines.MissAll(write));
        _e.Jump(back);
        // The routine comes back here, five bytes on.
        otherwise();
    }
}
