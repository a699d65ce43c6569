using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>A handler that exists once for each operand width.</summary>
internal unsafe interface IForm
{
    static abstract delegate*<CpuState*, Op*, Op*> Of<T>();
}

/// <summary>A handler that exists once for each operand width and way of addressing.</summary>
internal unsafe interface IMemoryForm
{
    static abstract delegate*<CpuState*, Op*, Op*> Of<T, TEa>()
        where TEa : struct, IAddressing;
}

/// <summary>A handler that exists once for each width of operand and stack pointer.</summary>
internal unsafe interface IStackForm
{
    static abstract delegate*<CpuState*, Op*, Op*> Of<TStack, T>()
        where TStack : struct, IStack;
}

/// <summary>Chooses among the instances of a generic handler.</summary>
internal static unsafe class Pick
{
    /// <param name="size">Operand size in bytes: 1, 2, 4 or 8.</param>
    public static delegate*<CpuState*, Op*, Op*> Width<TForm>(int size)
        where TForm : struct, IForm => size switch
        {
            1 => TForm.Of<byte>(),
            2 => TForm.Of<ushort>(),
            4 => TForm.Of<uint>(),
            _ => TForm.Of<ulong>(),
        };

    public static delegate*<CpuState*, Op*, Op*> Memory<TForm>(int size, Op* op)
        where TForm : struct, IMemoryForm => IsPlain(op)
            ? size switch
            {
                1 => TForm.Of<byte, Plain>(),
                2 => TForm.Of<ushort, Plain>(),
                4 => TForm.Of<uint, Plain>(),
                _ => TForm.Of<ulong, Plain>(),
            }
            : size switch
            {
                1 => TForm.Of<byte, Wide>(),
                2 => TForm.Of<ushort, Wide>(),
                4 => TForm.Of<uint, Wide>(),
                _ => TForm.Of<ulong, Wide>(),
            };

    /// <param name="mode">The code's <see cref="CodeMode"/>.</param>
    public static delegate*<CpuState*, Op*, Op*> Stack<TForm>(int size, uint mode)
        where TForm : struct, IStackForm => (mode & CodeMode.BitsMask) == CodeMode.Bits64
            ? size == 2 ? TForm.Of<Stack64, ushort>() : TForm.Of<Stack64, ulong>()
            : (mode & CodeMode.Stack32) != 0
                ? size == 2 ? TForm.Of<Stack32, ushort>() : TForm.Of<Stack32, uint>()
                : size == 2 ? TForm.Of<Stack16, ushort>() : TForm.Of<Stack16, uint>();

    /// <summary>Whether the memory operand needs neither address-size mask nor segment base.</summary>
    public static bool IsPlain(Op* op) => op->AddressMask == ulong.MaxValue && op->Segment == Slots.Zero;
}
