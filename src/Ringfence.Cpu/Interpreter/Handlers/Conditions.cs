using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>One of the sixteen conditions of Jcc, SETcc and CMOVcc (SDM 1 B.1).</summary>
internal unsafe interface ICondition
{
    static abstract bool Holds(CpuState* s);
}

internal readonly struct IfOverflow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsOverflow(s);
}

internal readonly struct IfBelow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsCarry(s);
}

internal readonly struct IfEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsZero(s);
}

internal readonly struct IfBelowOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsCarry(s) || Flags.IsZero(s);
}

internal readonly struct IfSign : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsSign(s);
}

internal readonly struct IfParity : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsParity(s);
}

internal readonly struct IfLess : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsLess(s);
}

internal readonly struct IfLessOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.IsZero(s) || Flags.IsLess(s);
}

internal readonly struct Unless<TCondition> : ICondition
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => !TCondition.Holds(s);
}

internal static unsafe class Conditional
{
    public static Op* SetR<TCondition>(CpuState* s, Op* o)
        where TCondition : struct, ICondition
    {
        *((byte*)s + o->Destination) = TCondition.Holds(s) ? (byte)1 : (byte)0;
        o++;
        return o->Handler(s, o);
    }

    public static Op* SetM<TCondition>(CpuState* s, Op* o)
        where TCondition : struct, ICondition
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), TCondition.Holds(s) ? (byte)1 : (byte)0))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>A 32-bit CMOV clears the upper half even when the condition fails; a memory operand is read in any case (SDM 2 CMOVcc).</summary>
    public static Op* Mov<TCondition, TOperand, T>(CpuState* s, Op* o)
        where TCondition : struct, ICondition
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, TCondition.Holds(s) ? value : Width.Get<T>(s, o->Destination));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Jcc to a target given by displacement.</summary>
    public static Op* Jump<TCondition>(CpuState* s, Op* o)
        where TCondition : struct, ICondition =>
        TCondition.Holds(s) ? ControlFlow.Take(s, o) : ControlFlow.FallThrough(s, o);
}
