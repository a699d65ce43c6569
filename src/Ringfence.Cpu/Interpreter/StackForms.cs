using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

internal readonly unsafe struct PushR : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PushR<TStack, T>;
}

internal readonly unsafe struct PushI : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PushI<TStack, T>;
}

internal readonly unsafe struct PushM : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PushM<TStack, T>;
}

internal readonly unsafe struct PopR : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PopR<TStack, T>;
}

internal readonly unsafe struct PopM : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PopM<TStack, T>;
}

internal readonly unsafe struct LeaveFrame : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.Leave<TStack, T>;
}

internal readonly unsafe struct EnterFrame : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.Enter<TStack, T>;
}

internal readonly unsafe struct PushAll : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PushAll<TStack, T>;
}

internal readonly unsafe struct PopAll : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &Stack.PopAll<TStack, T>;
}

internal readonly unsafe struct PushFlags : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &SystemInstructions.Pushf<TStack, T>;
}

internal readonly unsafe struct PopFlags : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &SystemInstructions.Popf<TStack, T>;
}

internal readonly unsafe struct PushSegment : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack =>
        &SystemInstructions.PushSegment<TStack, T>;
}

internal readonly unsafe struct PopSegment : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack =>
        &SystemInstructions.PopSegment<TStack, T>;
}

internal readonly unsafe struct CallRelative : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &ControlFlow.Call<TStack, T>;
}

internal readonly unsafe struct CallTo<TOperand> : IStackForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack =>
        &ControlFlow.CallIndirect<TOperand, TStack, T>;
}

internal readonly unsafe struct ReturnNear : IStackForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<TStack, T>() where TStack : struct, IStack => &ControlFlow.Return<TStack, T>;
}
