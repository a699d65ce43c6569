using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>The width of the stack pointer: 64 bits in 64-bit code, else as SS.B says.</summary>
internal unsafe interface IStack
{
    static abstract ulong Get(CpuState* s);

    static abstract void Set(CpuState* s, ulong value);

    static abstract ulong Linear(CpuState* s, ulong pointer);
}

internal readonly struct Stack64 : IStack
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get(CpuState* s) => s->Gpr[4];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Set(CpuState* s, ulong value) => s->Gpr[4] = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, ulong pointer) => pointer;
}

internal readonly struct Stack32 : IStack
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get(CpuState* s) => (uint)s->Gpr[4];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Set(CpuState* s, ulong value) => s->Gpr[4] = (uint)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, ulong pointer) => (uint)((uint)pointer + s->Ss.Base);
}

internal readonly struct Stack16 : IStack
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get(CpuState* s) => (ushort)s->Gpr[4];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Set(CpuState* s, ulong value) => *(ushort*)&s->Gpr[4] = (ushort)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, ulong pointer) => (uint)((ushort)pointer + s->Ss.Base);
}

/// <summary>Instructions whose operand is the stack.</summary>
internal static unsafe class Stack
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryPush<TStack, T>(CpuState* s, ulong value)
        where TStack : struct, IStack
    {
        ulong pointer = TStack.Get(s) - (ulong)sizeof(T);
        if (!GuestAccess.Write(s, TStack.Linear(s, pointer), Width.To<T>(value)))
        {
            return false;
        }
        TStack.Set(s, pointer);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryPeek<TStack, T>(CpuState* s, ulong offset, out ulong value)
        where TStack : struct, IStack
    {
        bool done = GuestAccess.Read(s, TStack.Linear(s, TStack.Get(s) + offset), out T read);
        value = Width.From(read);
        return done;
    }

    public static Op* PushR<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!TryPush<TStack, T>(s, Width.Get<T>(s, o->Destination)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PushI<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!TryPush<TStack, T>(s, o->Immediate))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PushM<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!GuestAccess.Read(s, Wide.Linear(s, o), out T value) || !TryPush<TStack, T>(s, Width.From(value)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PopR<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!TryPeek<TStack, T>(s, 0, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        // After the pointer moves: POP rSP leaves what was popped.
        Width.Set<T>(s, o->Destination, value);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>POP to memory: an address with rSP as base uses the pointer after the pop (SDM 2 POP).</summary>
    public static Op* PopM<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!TryPeek<TStack, T>(s, 0, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        ulong old = s->Gpr[4];
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        if (!GuestAccess.Write(s, Wide.Linear(s, o), Width.To<T>(value)))
        {
            s->Gpr[4] = old;
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Leave<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        ulong frame = s->Gpr[5];
        if (!GuestAccess.Read(s, TStack.Linear(s, frame), out T value))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, frame + (ulong)sizeof(T));
        Width.Set<T>(s, Slots.Rbp, Width.From(value));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>ENTER: the frame size is the immediate's low half, the nesting level <see cref="Op.Extra"/>.</summary>
    public static Op* Enter<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        ulong old = s->Gpr[4];
        ulong frame = s->Gpr[5];
        int level = o->Extra & 31;
        if (!TryPush<TStack, T>(s, frame))
        {
            return Exits.Abort(s, o);
        }
        // By operand size, not by the stack's: a frame of 32 bits on a stack of 16 has all of ESP.
        ulong top = Width.Truncate<T>(s->Gpr[4]);
        for (int i = 1; i <= level; i++)
        {
            bool pushed = i == level
                ? TryPush<TStack, T>(s, top)
                : GuestAccess.Read(s, TStack.Linear(s, frame - (ulong)(i * sizeof(T))), out T display) && TryPush<TStack, T>(s, Width.From(display));
            if (!pushed)
            {
                s->Gpr[4] = old;
                return Exits.Abort(s, o);
            }
        }
        // A write at the new top must be possible, though none is made (SDM 2 ENTER).
        ulong end = TStack.Get(s) - (o->Immediate & 0xFFFF);
        bool inside = (s->Mode & CodeMode.Flat) != 0
            || SegmentGuard.Permits(s, &s->Ss, (s->Mode & CodeMode.Stack32) != 0 ? (uint)end : (ushort)end, (ulong)sizeof(T), true);
        if (!inside || !GuestAccess.ReadForWrite<T>(s, TStack.Linear(s, end), out _))
        {
            s->Gpr[4] = old;
            return inside ? Exits.Abort(s, o) : Exits.Fault(s, o, Vectors.StackFault);
        }
        TStack.Set(s, end);
        Width.Set<T>(s, Slots.Rbp, top);
        o++;
        return o->Handler(s, o);
    }

    public static Op* PushAll<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        ulong old = s->Gpr[4];
        for (int i = 0; i < 8; i++)
        {
            if (!TryPush<TStack, T>(s, i == 4 ? old : s->Gpr[i]))
            {
                s->Gpr[4] = old;
                return Exits.Abort(s, o);
            }
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PopAll<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        for (int i = 0; i < 8; i++)
        {
            // Checks the whole frame first, so that a fault leaves every register as it was.
            if (!TryPeek<TStack, T>(s, (ulong)(i * sizeof(T)), out _))
            {
                return Exits.Abort(s, o);
            }
        }
        for (int i = 7; i >= 0; i--)
        {
            TryPeek<TStack, T>(s, (ulong)((7 - i) * sizeof(T)), out ulong value);
            if (i != 4)
            {
                Width.Set<T>(s, Slots.Gpr(i), value);
            }
        }
        TStack.Set(s, TStack.Get(s) + (ulong)(8 * sizeof(T)));
        o++;
        return o->Handler(s, o);
    }
}
