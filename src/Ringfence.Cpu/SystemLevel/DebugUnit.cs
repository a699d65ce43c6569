using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>
/// The breakpoints of DR0 to DR3 (SDM 3B 18.2). None costs anything until it is armed. Code that runs while one for code is armed has a
/// mode of its own, in which blocks begin with a look at the four addresses. Pages with one for data have no tags in the TLB for what is
/// watched, so that such accesses come by <see cref="Mmu.Access"/>: an instruction that is about to make one is left and run alone,
/// after which its #DB can be delivered.
/// </summary>
internal sealed unsafe class DebugUnit(Processor processor)
{
    private const uint OnCode = 0;
    private const uint OnWrite = 1;
    private const uint OnPort = 2;

    private readonly CpuState* _s = processor.State;
    /// <summary>Which of the four are armed, a bit for each.</summary>
    private uint _code;
    private uint _data;
    private uint _ports;

    /// <summary>DR6 bits of traps that are due after the instruction that runs.</summary>
    public ulong Pending { get; set; }

    /// <summary>The fault that is recorded is that of a breakpoint for code: RF is not set for its handler to return.</summary>
    public bool AtCode { get; set; }

    /// <summary>The instruction runs alone, or an event is being delivered: what is watched may be accessed, and is noted.</summary>
    public bool Alone { get; set; } = true;

    public bool HasCode => _code != 0;

    /// <summary>Some data is watched, by the guest or by a debugger outside it.</summary>
    public bool HasData { get; private set; }

    public bool HasPorts => _ports != 0;

    /// <summary>Puts what is pending into DR6, for the #DB that tells of it.</summary>
    public void TakePending()
    {
        if (Pending != 0)
        {
            _s->Dr[6] = (_s->Dr[6] & ~DebugBits.Conditions) | Pending;
            Pending = 0;
        }
    }

    /// <summary>To be called when DR0 to DR3, DR7 or CR4.DE have changed.</summary>
    public void Update()
    {
        bool before = HasData;
        _code = _data = _ports = 0;
        for (int i = 0; i < 4; i++)
        {
            if (((_s->Dr[7] >> (2 * i)) & 3) == 0)
            {
                continue;
            }
            uint bit = 1u << i;
            switch (Kind(i))
            {
                case OnCode: _code |= bit; break;
                // Without CR4.DE this kind is undefined: it never matches.
                case OnPort: _ports |= (_s->Cr4 & ControlBits.DebugExtensions) != 0 ? bit : 0; break;
                default: _data |= bit; break;
            }
        }
        HasData = _data != 0 || processor.Stops is { WatchesData: true };
        if (before || HasData)
        {
            processor.Mmu.FlushAll();
        }
        processor.ModeChanged();
    }

    /// <summary>Whether a breakpoint for code lies in a range of linear addresses.</summary>
    public bool StopsWithin(ulong linear, ulong bytes)
    {
        for (int i = 0; i < 4; i++)
        {
            if ((_code & (1u << i)) != 0 && _s->Dr[i] - linear < bytes)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>Whether there is a breakpoint at the instruction that is next. Its #DB is recorded then.</summary>
    public bool StopsAt(ulong linear)
    {
        ulong met = 0;
        for (int i = 0; i < 4; i++)
        {
            met |= (_code & (1u << i)) != 0 && _s->Dr[i] == linear ? 1UL << i : 0;
        }
        if (met == 0)
        {
            return false;
        }
        _s->Dr[6] = (_s->Dr[6] & ~DebugBits.Conditions) | met;
        AtCode = true;
        Exits.Record(_s, Vectors.Debug);
        return true;
    }

    /// <summary>Before an access: false if the instruction must be run alone first, as is recorded. What is read to be written back is
    /// <paramref name="kind"/> read, <paramref name="rights"/> write.</summary>
    public bool MayAccess(ulong linear, int size, AccessKind kind, AccessKind rights)
    {
        if (Alone || (Hits(linear, size, rights == AccessKind.Write) == 0
            && processor.Stops?.Watches(linear, size, kind == AccessKind.Read, rights == AccessKind.Write) != true))
        {
            return true;
        }
        _s->Event = ExitEvent.Step;
        return false;
    }

    /// <summary>After an access; of one in place the parameters are as in <see cref="MayAccess"/>.</summary>
    public void Accessed(ulong linear, int size, AccessKind kind, AccessKind rights)
    {
        Pending |= Hits(linear, size, rights == AccessKind.Write);
        processor.Stops?.Note(linear, size, kind == AccessKind.Read, rights == AccessKind.Write);
    }

    /// <summary>After an access to a port. The attention ends the block after the instruction.</summary>
    public void PortAccessed(ushort port, int size)
    {
        ulong met = 0;
        for (int i = 0; i < 4; i++)
        {
            met |= (_ports & (1u << i)) != 0 && Overlaps(i, port, size) ? 1UL << i : 0;
        }
        if (met != 0)
        {
            Pending |= met;
            processor.RaiseQuietly(Attentions.Debug);
        }
    }

    /// <summary>What the TLB must not let pass unnoticed on a page.</summary>
    public (bool Read, bool Write) WatchedOn(ulong page)
    {
        bool read = false;
        bool write = false;
        for (int i = 0; i < 4; i++)
        {
            if ((_data & (1u << i)) != 0 && ((_s->Dr[i] ^ page) & ~0xFFFUL) == 0)
            {
                write = true;
                read |= Kind(i) != OnWrite;
            }
        }
        processor.Stops?.WatchedOn(page, ref read, ref write);
        return (read, write);
    }

    private ulong Hits(ulong linear, int size, bool write)
    {
        ulong met = 0;
        for (int i = 0; i < 4; i++)
        {
            met |= (_data & (1u << i)) != 0 && (write || Kind(i) != OnWrite) && Overlaps(i, linear, size) ? 1UL << i : 0;
        }
        return met;
    }

    private uint Kind(int number) => (uint)(_s->Dr[7] >> (16 + (4 * number))) & 3;

    /// <summary>A breakpoint covers 1, 2, 4 or 8 bytes from the address with as many low bits ignored.</summary>
    private bool Overlaps(int number, ulong address, int size)
    {
        ulong length = ((uint)(_s->Dr[7] >> (18 + (4 * number))) & 3) switch
        {
            0 => 1,
            1 => 2,
            2 => 8,
            _ => 4,
        };
        ulong start = _s->Dr[number] & ~(length - 1);
        return address - start < length || start - address < (ulong)size;
    }
}

/// <summary>Bits of DR6 and DR7 (SDM 3B 18.2.3, 18.2.4).</summary>
internal static class DebugBits
{
    /// <summary>DR6.B0 to B3.</summary>
    public const ulong Conditions = 15;
    /// <summary>DR6.BD and DR7.GD.</summary>
    public const ulong GeneralDetect = 1 << 13;
    /// <summary>DR6.BS.</summary>
    public const ulong SingleStep = 1 << 14;
    /// <summary>DR6.BT.</summary>
    public const ulong TaskSwitch = 1 << 15;
    /// <summary>DR7.L0 to L3 and LE, which a task switch clears.</summary>
    public const ulong Local = 0x155;
}
