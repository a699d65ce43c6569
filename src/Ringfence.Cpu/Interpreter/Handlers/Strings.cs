using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// String instructions. <see cref="Op.Segment"/> is the source's segment base, <see cref="Op.Source"/> the destination's (ES);
/// <see cref="Op.Extra"/> is the prefix. TAddress, the address size, is the width of RSI, RDI and RCX. A repeated instruction
/// can be left between two elements, with the registers telling how far it came (SDM 2 REP).
/// </summary>
internal static unsafe class Strings
{
    public const byte Once = 0;
    public const byte RepeatWhileEqual = 1;
    public const byte RepeatWhileNotEqual = 2;

    /// <summary>Elements done one by one before looking at <see cref="CpuState.Attention"/> again.</summary>
    private const int Patience = 256;

    public static Op* Movs<T, TAddress>(CpuState* s, Op* o) => Transfer<Move, T, TAddress>(s, o);

    public static Op* Stos<T, TAddress>(CpuState* s, Op* o) => Transfer<Store, T, TAddress>(s, o);

    public static Op* Lods<T, TAddress>(CpuState* s, Op* o)
    {
        ulong step = Step<T>(s);
        ulong count = o->Extra == Once ? 1 : Count<TAddress>(s);
        for (; count != 0; count--)
        {
            ulong index = Width.Get<TAddress>(s, Slots.Rsi);
            if (!GuestAccess.Read(s, SourceLinear(s, o, index), out T value))
            {
                return Exits.Abort(s, o);
            }
            Width.Set<T>(s, Slots.Rax, Width.From(value));
            Width.Set<TAddress>(s, Slots.Rsi, index + step);
            if (o->Extra != Once)
            {
                Width.Set<TAddress>(s, Slots.Rcx, count - 1);
                if (count > 1 && s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Scas<T, TAddress>(CpuState* s, Op* o)
    {
        ulong step = Step<T>(s);
        ulong count = o->Extra == Once ? 1 : Count<TAddress>(s);
        for (; count != 0; count--)
        {
            if (count > 1)
            {
                count -= ScanRun<T, TAddress>(s, o, count);
            }
            ulong index = Width.Get<TAddress>(s, Slots.Rdi);
            if (!GuestAccess.Read(s, DestinationLinear(s, o, index), out T value))
            {
                return Exits.Abort(s, o);
            }
            Sub.Apply<T>(s, Width.Get<T>(s, Slots.Rax), Width.From(value));
            Width.Set<TAddress>(s, Slots.Rdi, index + step);
            if (o->Extra != Once)
            {
                Width.Set<TAddress>(s, Slots.Rcx, count - 1);
                if (Flags.IsZero(s) != (o->Extra == RepeatWhileEqual))
                {
                    break;
                }
                if (count > 1 && s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Cmps<T, TAddress>(CpuState* s, Op* o)
    {
        ulong step = Step<T>(s);
        ulong count = o->Extra == Once ? 1 : Count<TAddress>(s);
        for (; count != 0; count--)
        {
            if (count > 1)
            {
                count -= CompareRun<T, TAddress>(s, o, count);
            }
            ulong from = Width.Get<TAddress>(s, Slots.Rsi);
            ulong to = Width.Get<TAddress>(s, Slots.Rdi);
            if (!GuestAccess.Read(s, SourceLinear(s, o, from), out T a) || !GuestAccess.Read(s, DestinationLinear(s, o, to), out T b))
            {
                return Exits.Abort(s, o);
            }
            Sub.Apply<T>(s, Width.From(a), Width.From(b));
            Width.Set<TAddress>(s, Slots.Rsi, from + step);
            Width.Set<TAddress>(s, Slots.Rdi, to + step);
            if (o->Extra != Once)
            {
                Width.Set<TAddress>(s, Slots.Rcx, count - 1);
                if (Flags.IsZero(s) != (o->Extra == RepeatWhileEqual))
                {
                    break;
                }
                if (count > 1 && s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Ins<T, TAddress>(CpuState* s, Op* o)
    {
        ushort port = (ushort)s->Gpr[2];
        if (!PortAccess.Allowed(s, port, sizeof(T)))
        {
            return Exits.Abort(s, o);
        }
        ulong step = Step<T>(s);
        ulong count = o->Extra == Once ? 1 : Count<TAddress>(s);
        for (; count != 0; count--)
        {
            ulong index = Width.Get<TAddress>(s, Slots.Rdi);
            ulong linear = DestinationLinear(s, o, index);
            // The page is checked before the port is read: a read cannot be taken back.
            if (!GuestAccess.ReadForWrite<T>(s, linear, out _))
            {
                return Exits.Abort(s, o);
            }
            GuestAccess.Write(s, linear, Width.To<T>(PortAccess.Read(s, o, port, sizeof(T))));
            Width.Set<TAddress>(s, Slots.Rdi, index + step);
            if (o->Extra != Once)
            {
                Width.Set<TAddress>(s, Slots.Rcx, count - 1);
                if (count > 1 && s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        return Exits.After(s, o);
    }

    public static Op* Outs<T, TAddress>(CpuState* s, Op* o)
    {
        ushort port = (ushort)s->Gpr[2];
        if (!PortAccess.Allowed(s, port, sizeof(T)))
        {
            return Exits.Abort(s, o);
        }
        ulong step = Step<T>(s);
        ulong count = o->Extra == Once ? 1 : Count<TAddress>(s);
        for (; count != 0; count--)
        {
            ulong index = Width.Get<TAddress>(s, Slots.Rsi);
            if (!GuestAccess.Read(s, SourceLinear(s, o, index), out T value))
            {
                return Exits.Abort(s, o);
            }
            PortAccess.Write(s, o, port, sizeof(T), (uint)Width.From(value));
            Width.Set<TAddress>(s, Slots.Rsi, index + step);
            if (o->Extra != Once)
            {
                Width.Set<TAddress>(s, Slots.Rcx, count - 1);
                if (count > 1 && s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        return Exits.After(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Step<T>(CpuState* s) => (s->SystemFlags & Flags.Direction) == 0 ? (ulong)sizeof(T) : (ulong)-sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Count<TAddress>(CpuState* s) => Width.Get<TAddress>(s, Slots.Rcx);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SourceLinear(CpuState* s, Op* o, ulong index) => (index + Width.Get<ulong>(s, o->Segment)) & s->LinearMask;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong DestinationLinear(CpuState* s, Op* o, ulong index) => (index + Width.Get<ulong>(s, o->Source)) & s->LinearMask;

    /// <summary>MOVS and STOS: in runs of whole pages where that can be, else element by element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Op* Transfer<TTransfer, T, TAddress>(CpuState* s, Op* o)
        where TTransfer : struct, ITransfer
    {
        ulong step = Step<T>(s);
        if (o->Extra == Once)
        {
            if (!TTransfer.One<T, TAddress>(s, o, step))
            {
                return Exits.Abort(s, o);
            }
            o++;
            return o->Handler(s, o);
        }
        int left = Patience;
        for (ulong count = Count<TAddress>(s); count != 0;)
        {
            ulong run = step == (ulong)sizeof(T) ? TTransfer.Run<T, TAddress>(s, o, count) : 0;
            if (run == 0)
            {
                if (!TTransfer.One<T, TAddress>(s, o, step))
                {
                    return Exits.Abort(s, o);
                }
                run = 1;
                left--;
            }
            count -= run;
            Width.Set<TAddress>(s, Slots.Rcx, count);
            if (count != 0 && (run > 1 || left <= 0))
            {
                left = Patience;
                if (s->Attention != 0)
                {
                    return Exits.Between(s, o);
                }
            }
        }
        o++;
        return o->Handler(s, o);
    }

    private static bool MoveOne<T, TAddress>(CpuState* s, Op* o, ulong step)
    {
        ulong from = Width.Get<TAddress>(s, Slots.Rsi);
        ulong to = Width.Get<TAddress>(s, Slots.Rdi);
        if (!GuestAccess.Read(s, SourceLinear(s, o, from), out T value) || !GuestAccess.Write(s, DestinationLinear(s, o, to), value))
        {
            return false;
        }
        Width.Set<TAddress>(s, Slots.Rsi, from + step);
        Width.Set<TAddress>(s, Slots.Rdi, to + step);
        return true;
    }

    private static bool StoreOne<T, TAddress>(CpuState* s, Op* o, ulong step)
    {
        ulong to = Width.Get<TAddress>(s, Slots.Rdi);
        if (!GuestAccess.Write(s, DestinationLinear(s, o, to), Width.To<T>(Width.Get<T>(s, Slots.Rax))))
        {
            return false;
        }
        Width.Set<TAddress>(s, Slots.Rdi, to + step);
        return true;
    }

    /// <summary>Moves as many elements forward as the two pages hold, by host addresses; 0 if it cannot.</summary>
    private static ulong MoveRun<T, TAddress>(CpuState* s, Op* o, ulong count)
    {
        ulong from = Width.Get<TAddress>(s, Slots.Rsi);
        ulong to = Width.Get<TAddress>(s, Slots.Rdi);
        ulong run = Math.Min(Math.Min(Elements<T, TAddress>(from, SourceLinear(s, o, from)), Elements<T, TAddress>(to, DestinationLinear(s, o, to))), count);
        byte* source = Readable(s, SourceLinear(s, o, from));
        byte* destination = (byte*)GuestAccess.Modify<byte>(s, DestinationLinear(s, o, to));
        // Overlap with the destination ahead repeats a pattern, which no block copy does.
        if (run <= 1 || source == null || destination == null || (destination > source && destination < source + (run * (ulong)sizeof(T))))
        {
            return 0;
        }
        ulong bytes = run * (ulong)sizeof(T);
        Buffer.MemoryCopy(source, destination, bytes, bytes);
        Width.Set<TAddress>(s, Slots.Rsi, from + bytes);
        Width.Set<TAddress>(s, Slots.Rdi, to + bytes);
        return run;
    }

    private static ulong StoreRun<T, TAddress>(CpuState* s, Op* o, ulong count)
    {
        ulong to = Width.Get<TAddress>(s, Slots.Rdi);
        ulong run = Math.Min(Elements<T, TAddress>(to, DestinationLinear(s, o, to)), count);
        T* destination = (T*)GuestAccess.Modify<byte>(s, DestinationLinear(s, o, to));
        if (run <= 1 || destination == null)
        {
            return 0;
        }
        new Span<T>(destination, (int)run).Fill(Width.To<T>(Width.Get<T>(s, Slots.Rax)));
        Width.Set<TAddress>(s, Slots.Rdi, to + (run * (ulong)sizeof(T)));
        return run;
    }

    /// <summary>Goes over elements of CMPS that do not end the repetition, as many as the two pages hold, and returns how many. The one that ends it is the
    /// caller's, and so are those whose bytes are not at hand.</summary>
    /// <param name="count">At least 2.</param>
    private static ulong CompareRun<T, TAddress>(CpuState* s, Op* o, ulong count)
    {
        if (o->Extra != RepeatWhileEqual || Step<T>(s) != (ulong)sizeof(T))
        {
            return 0;
        }
        ulong from = Width.Get<TAddress>(s, Slots.Rsi);
        ulong to = Width.Get<TAddress>(s, Slots.Rdi);
        ulong run = Math.Min(Math.Min(Elements<T, TAddress>(from, SourceLinear(s, o, from)), Elements<T, TAddress>(to, DestinationLinear(s, o, to))), count - 1);
        byte* source = Readable(s, SourceLinear(s, o, from));
        byte* destination = Readable(s, DestinationLinear(s, o, to));
        if (run == 0 || source == null || destination == null)
        {
            return 0;
        }
        ulong equal = (ulong)new ReadOnlySpan<T>(source, (int)run).CommonPrefixLength(new ReadOnlySpan<T>(destination, (int)run));
        if (equal != 0)
        {
            ulong last = Width.From(((T*)source)[equal - 1]);
            Sub.Apply<T>(s, last, last);
            Width.Set<TAddress>(s, Slots.Rsi, from + (equal * (ulong)sizeof(T)));
            Width.Set<TAddress>(s, Slots.Rdi, to + (equal * (ulong)sizeof(T)));
            Width.Set<TAddress>(s, Slots.Rcx, count - equal);
        }
        return equal;
    }

    /// <summary>The same for SCAS.</summary>
    private static ulong ScanRun<T, TAddress>(CpuState* s, Op* o, ulong count)
    {
        if (Step<T>(s) != (ulong)sizeof(T))
        {
            return 0;
        }
        ulong at = Width.Get<TAddress>(s, Slots.Rdi);
        ulong run = Math.Min(Elements<T, TAddress>(at, DestinationLinear(s, o, at)), count - 1);
        byte* host = Readable(s, DestinationLinear(s, o, at));
        if (run == 0 || host == null)
        {
            return 0;
        }
        bool equal = o->Extra == RepeatWhileEqual;
        ulong wanted = Width.Get<T>(s, Slots.Rax);
        int found = sizeof(T) switch
        {
            1 => Find(new ReadOnlySpan<byte>(host, (int)run), (byte)wanted, equal),
            2 => Find(new ReadOnlySpan<ushort>(host, (int)run), (ushort)wanted, equal),
            4 => Find(new ReadOnlySpan<uint>(host, (int)run), (uint)wanted, equal),
            _ => Find(new ReadOnlySpan<ulong>(host, (int)run), wanted, equal),
        };
        ulong passed = found < 0 ? run : (ulong)found;
        if (passed != 0)
        {
            Sub.Apply<T>(s, wanted, Width.From(((T*)host)[passed - 1]));
            Width.Set<TAddress>(s, Slots.Rdi, at + (passed * (ulong)sizeof(T)));
            Width.Set<TAddress>(s, Slots.Rcx, count - passed);
        }
        return passed;
    }

    private static int Find<T>(ReadOnlySpan<T> elements, T value, bool equal)
        where T : IEquatable<T> => equal ? elements.IndexOfAnyExcept(value) : elements.IndexOf(value);

    private static byte* Readable(CpuState* s, ulong linear)
    {
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (GuestAccess.TlbEntries - 1));
        return (entry->Read ^ linear) < GuestAccess.PageBytes ? (byte*)(linear + entry->Addend) : null;
    }

    /// <summary>How many whole elements there are before the page, or the address size, ends.</summary>
    private static ulong Elements<T, TAddress>(ulong index, ulong linear)
    {
        ulong bytes = GuestAccess.PageBytes - (linear & (GuestAccess.PageBytes - 1));
        if (sizeof(TAddress) == 2)
        {
            bytes = Math.Min(bytes, 0x10000 - index);
        }
        return bytes / (ulong)sizeof(T);
    }

    /// <summary>What MOVS and STOS do with one element, and with a run of them.</summary>
    private interface ITransfer
    {
        /// <summary>False: a fault is recorded.</summary>
        static abstract bool One<T, TAddress>(CpuState* s, Op* o, ulong step);

        /// <summary>How many elements it did at once by host addresses; 0 if it cannot.</summary>
        static abstract ulong Run<T, TAddress>(CpuState* s, Op* o, ulong count);
    }

    private readonly struct Move : ITransfer
    {
        public static bool One<T, TAddress>(CpuState* s, Op* o, ulong step) => MoveOne<T, TAddress>(s, o, step);

        public static ulong Run<T, TAddress>(CpuState* s, Op* o, ulong count) => MoveRun<T, TAddress>(s, o, count);
    }

    private readonly struct Store : ITransfer
    {
        public static bool One<T, TAddress>(CpuState* s, Op* o, ulong step) => StoreOne<T, TAddress>(s, o, step);

        public static ulong Run<T, TAddress>(CpuState* s, Op* o, ulong count) => StoreRun<T, TAddress>(s, o, count);
    }
}
