using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

// One line for each shape of instruction: how its handler is instantiated once operation, width and addressing are known.

internal readonly unsafe struct RR<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.RR<TOp, T>;
}

internal readonly unsafe struct RI<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.RI<TOp, T>;
}

internal readonly unsafe struct RM<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.RM<TOp, T, TEa>;
}

internal readonly unsafe struct MR<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.MR<TOp, T, TEa>;
}

internal readonly unsafe struct MI<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.MI<TOp, T, TEa>;
}

internal readonly unsafe struct LockMR<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.LockMR<TOp, T>;
}

internal readonly unsafe struct LockMI<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.LockMI<TOp, T>;
}

internal readonly unsafe struct R<TOp> : IForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.R<TOp, T>;
}

internal readonly unsafe struct M<TOp> : IMemoryForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.M<TOp, T, TEa>;
}

internal readonly unsafe struct LockM<TOp> : IForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.LockM<TOp, T>;
}

internal readonly unsafe struct ShiftRCl<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.ShiftRCl<TOp, T>;
}

internal readonly unsafe struct ShiftMCl<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.ShiftMCl<TOp, T>;
}

internal readonly unsafe struct MovRR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.MovRR<T>;
}

internal readonly unsafe struct MovRI : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.MovRI<T>;
}

internal readonly unsafe struct MovRM : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.MovRM<T, TEa>;
}

internal readonly unsafe struct MovMR : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.MovMR<T, TEa>;
}

internal readonly unsafe struct MovMI : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing => &Integer.MovMI<T, TEa>;
}

internal readonly unsafe struct LoadAbsolute : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.LoadAbsolute<T>;
}

internal readonly unsafe struct StoreAbsolute : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.StoreAbsolute<T>;
}

internal readonly unsafe struct Lea : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.Lea<T>;
}

internal readonly unsafe struct XchgRR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.XchgRR<T>;
}

internal readonly unsafe struct XchgMR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.XchgMR<T>;
}

internal readonly unsafe struct ExtendR<TSign, TFrom> : IForm
    where TSign : struct, IExtend
    where TFrom : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Integer.ExtendR<TSign, TFrom, T>;
}

internal readonly unsafe struct ExtendM<TSign, TFrom> : IMemoryForm
    where TSign : struct, IExtend
    where TFrom : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where T : unmanaged where TEa : struct, Memory.IAddressing =>
        &Integer.ExtendM<TSign, TFrom, T, TEa>;
}

internal readonly unsafe struct TestBitR<TChange, TIndex> : IForm
    where TChange : struct, IBitChange
    where TIndex : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.TestR<TChange, TIndex, T>;
}

internal readonly unsafe struct TestBitM<TChange, TIndex> : IForm
    where TChange : struct, IBitChange
    where TIndex : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.TestM<TChange, TIndex, T>;
}

internal readonly unsafe struct ScanForward<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.ScanForward<TOperand, T>;
}

internal readonly unsafe struct ScanReverse<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.ScanReverse<TOperand, T>;
}

internal readonly unsafe struct CountOnes<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.CountOnes<TOperand, T>;
}

internal readonly unsafe struct Swap : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.Swap<T>;
}

internal readonly unsafe struct DoubleShiftR<TLeft, TCount> : IForm
    where TLeft : struct, IDirection
    where TCount : struct, ICount
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.DoubleShiftR<TLeft, TCount, T>;
}

internal readonly unsafe struct DoubleShiftM<TLeft, TCount> : IForm
    where TLeft : struct, IDirection
    where TCount : struct, ICount
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Bits.DoubleShiftM<TLeft, TCount, T>;
}

internal readonly unsafe struct Mul<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.Mul<TOperand, T>;
}

internal readonly unsafe struct Imul<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.Imul<TOperand, T>;
}

internal readonly unsafe struct ImulTwo<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.ImulTwo<TOperand, T>;
}

internal readonly unsafe struct ImulThree<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.ImulThree<TOperand, T>;
}

internal readonly unsafe struct Div<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.Div<TOperand, T>;
}

internal readonly unsafe struct Idiv<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.Idiv<TOperand, T>;
}

internal readonly unsafe struct XaddR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.XaddR<T>;
}

internal readonly unsafe struct XaddM : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.XaddM<T>;
}

internal readonly unsafe struct CmpxchgR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.CmpxchgR<T>;
}

internal readonly unsafe struct CmpxchgM : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &MultiplyDivide.CmpxchgM<T>;
}

internal readonly unsafe struct MovIf<TCondition, TOperand> : IForm
    where TCondition : struct, ICondition
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Conditional.Mov<TCondition, TOperand, T>;
}

internal readonly unsafe struct InPort : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.In<T>;
}

internal readonly unsafe struct OutPort : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.Out<T>;
}

internal readonly unsafe struct StoreSystem : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.StoreSystemR<T>;
}

internal readonly unsafe struct FromSegment : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.MovFromSegmentR<T>;
}

internal readonly unsafe struct LoadPointer : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.LoadPointer<T>;
}

internal readonly unsafe struct Probe<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &SystemInstructions.Probe<TOperand, T>;
}

internal readonly unsafe struct JumpTo<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &ControlFlow.JumpIndirect<TOperand, T>;
}

internal readonly unsafe struct Movs<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Movs<T, TAddress>;
}

internal readonly unsafe struct Stos<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Stos<T, TAddress>;
}

internal readonly unsafe struct Lods<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Lods<T, TAddress>;
}

internal readonly unsafe struct Scas<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Scas<T, TAddress>;
}

internal readonly unsafe struct Cmps<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Cmps<T, TAddress>;
}

internal readonly unsafe struct Ins<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Ins<T, TAddress>;
}

internal readonly unsafe struct Outs<TAddress> : IForm
    where TAddress : unmanaged
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() where T : unmanaged => &Strings.Outs<T, TAddress>;
}
