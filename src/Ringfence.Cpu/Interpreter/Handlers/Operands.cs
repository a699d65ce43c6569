using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Where an r/m operand is read from. False: a fault is recorded. For instructions too rare to have a form of their own.</summary>
internal unsafe interface IOperand
{
    static abstract bool Get<T>(CpuState* s, Op* o, out ulong value);
}

internal readonly struct FirstRegister : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Get<T>(CpuState* s, Op* o, out ulong value)
    {
        value = Width.Get<T>(s, o->Destination);
        return true;
    }
}

internal readonly struct SecondRegister : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Get<T>(CpuState* s, Op* o, out ulong value)
    {
        value = Width.Get<T>(s, o->Source);
        return true;
    }
}

/// <summary>The r/m operand of instructions with three registers: it stands where a memory operand's base would.</summary>
internal readonly struct ThirdRegister : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Get<T>(CpuState* s, Op* o, out ulong value)
    {
        value = Width.Get<T>(s, o->Base);
        return true;
    }
}

internal readonly struct MemoryValue : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Get<T>(CpuState* s, Op* o, out ulong value)
    {
        bool done = GuestAccess.Read(s, Wide.Linear(s, o), out T read);
        value = Width.From(read);
        return done;
    }
}

internal readonly struct ImmediateOperand : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Get<T>(CpuState* s, Op* o, out ulong value)
    {
        value = Width.Truncate<T>(o->Immediate);
        return true;
    }
}
