using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Tests.X87;

internal unsafe delegate void Apply(X87State* f, byte* memory, ref ulong rflags);

/// <summary>Runs an instruction here and on the host over random states and demands the same registers, tags, status, memory and flags.</summary>
internal static unsafe class HostComparison
{
    private const int MemorySize = 16;
    /// <summary>Of all x87 comparisons together in a normal run, about.</summary>
    private const long AllCases = 8_000_000;
    private const int Share = 20;

    public enum OperandKind
    {
        None,
        Single,
        Double,
        Extended,
        Integer16,
        Integer,
        Bcd,
        /// <summary>The instruction writes it.</summary>
        Destination,
    }

    /// <param name="undefined">Status bits that the manual leaves undefined after this instruction.</param>
    /// <param name="compares">A comparison: where an unmasked exception stops it, Intel leaves condition codes and flags as they were
    /// and AMD sets them to unordered, so that they are not looked at.</param>
    /// <param name="approximate">ST(0) and ST(1) may differ by a unit in the last place, and C1, PE and UE with them.</param>
    /// <param name="maximumExponent">The range over which the instruction's result is defined, for ST(0).</param>
    public static void Run(
        string name, ReadOnlySpan<byte> instruction, OperandKind memory, Apply apply, uint undefined = 0, int cases = 60_000,
        bool compares = false, bool approximate = false, int maximumExponent = 0x7FFF)
    {
        Assert.SkipUnless(HostX87.IsAvailable, "the oracle is the x87 of an x86-64 Linux host");
        var source = new OperandSource(0x87C0DE + ((long)name.Length << 32) + instruction[^1]);
        long began = Environment.TickCount64;
        long wanted = LongRun.Scaled(cases, AllCases, Share);
        using var host = new HostX87(instruction);
        byte* image = stackalloc byte[108];
        byte* before = stackalloc byte[108];
        byte* after = stackalloc byte[108];
        byte* here = stackalloc byte[MemorySize];
        byte* there = stackalloc byte[MemorySize];
        var failures = new List<string>();
        for (long n = 0; n < wanted && failures.Count < 12; n++)
        {
            LongRun.Count(1);
            X87State state = RandomState(source);
            Float80 operand0 = state.GetPhysical(state.Top);
            if (operand0.Exponent > maximumExponent && operand0.Exponent != 0x7FFF)
            {
                uint exponent = operand0.Sign | (uint)(maximumExponent - source.Below(70));
                state.SetPhysical(state.Top, new Float80(operand0.Significand, (ushort)exponent));
            }
            FillMemory(source, memory, here, state.GetPhysical(state.Top));
            new Span<byte>(here, MemorySize).CopyTo(new Span<byte>(there, MemorySize));
            X87Image.WriteSave(state, new Span<byte>(image, 108), true, false);
            new Span<byte>(image, 108).CopyTo(new Span<byte>(before, 108));
            ulong flags = 0x202 | (source.Bits64() & 0x8D5);
            UInt128 operand = *(UInt128*)here;

            ulong hostFlags = host.Run(image, there, flags) & 0x8D5;
            ulong ourFlags = flags;
            apply(&state, here, ref ourFlags);
            ourFlags &= 0x8D5;
            X87Image.WriteSave(state, new Span<byte>(after, 108), true, false);

            uint ignored = undefined;
            if (compares && (*(uint*)(after + 4) & X87Status.ErrorSummary) != 0)
            {
                ignored |= X87Status.Conditions;
                hostFlags = ourFlags;
            }
            if (approximate)
            {
                ignored |= AllowLastPlace(image, after);
            }
            if (!Same(image, after, ignored) || hostFlags != ourFlags
                || !new ReadOnlySpan<byte>(here, MemorySize).SequenceEqual(new ReadOnlySpan<byte>(there, MemorySize)))
            {
                LongRun.Difference();
                failures.Add($"before {Show(before)} operand {operand:X32} flags {flags:X}\n  here {Show(after)} memory "
                    + $"{Convert.ToHexString(new ReadOnlySpan<byte>(here, 10))} flags {ourFlags:X}\n  host {Show(image)} memory "
                    + $"{Convert.ToHexString(new ReadOnlySpan<byte>(there, 10))} flags {hostFlags:X}");
            }
        }
        LongRun.Ended("x87", wanted, began);
        Assert.True(failures.Count == 0, $"{name}:\n{string.Join('\n', failures)}");
    }

    public static bool Same(byte* host, byte* here, uint undefined)
    {
        uint status = (*(uint*)(host + 4) ^ *(uint*)(here + 4)) & 0xFFFF & ~undefined;
        return *(ushort*)host == *(ushort*)here && status == 0 && *(ushort*)(host + 8) == *(ushort*)(here + 8)
            && new ReadOnlySpan<byte>(host + 28, 80).SequenceEqual(new ReadOnlySpan<byte>(here + 28, 80));
    }

    /// <summary>Where the top registers are neighbours, makes the host's ours. Returns the status bits that may differ then.</summary>
    private static uint AllowLastPlace(byte* host, byte* here)
    {
        uint ignored = X87Status.C1;
        for (int i = 0; i < 2; i++)
        {
            byte* theirs = host + 28 + (i * 10), ours = here + 28 + (i * 10);
            long distance = (long)(*(ulong*)theirs - *(ulong*)ours);
            int exponents = *(ushort*)(theirs + 8) - *(ushort*)(ours + 8);
            ulong smaller = Math.Min(*(ulong*)theirs, *(ulong*)ours), larger = Math.Max(*(ulong*)theirs, *(ulong*)ours);
            if ((exponents == 0 && Math.Abs(distance) == 1)
                || (Math.Abs(exponents) == 1 && smaller == 1UL << 63 && larger == ulong.MaxValue)
                || (Math.Abs(exponents) == 1 && smaller == long.MaxValue && larger == 1UL << 63))
            {
                *(ushort*)(host + 8) = *(ushort*)(here + 8);
                *(ulong*)theirs = *(ulong*)ours;
                *(ushort*)(theirs + 8) = *(ushort*)(ours + 8);
                ignored |= X87Status.Precision | X87Status.Underflow;
            }
        }
        return ignored;
    }

    public static string Show(byte* image)
    {
        string text = $"cw {*(ushort*)image:X4} sw {*(ushort*)(image + 4):X4} tags {*(ushort*)(image + 8):X4}";
        for (int i = 0; i < 3; i++)
        {
            text += $" {*(ushort*)(image + 28 + (i * 10) + 8):X4}:{*(ulong*)(image + 28 + (i * 10)):X16}";
        }
        return text + $" | {*(ushort*)(image + 28 + 78):X4}:{*(ulong*)(image + 28 + 70):X16}";
    }

    public static X87State RandomState(OperandSource source)
    {
        X87State state = default;
        state.Initialize();
        state.ControlWord = source.ControlWord();
        state.Top = source.Below(8);
        state.StatusWord |= (ushort)(source.Bits64() & 0x4700);
        // Mostly the first registers valid and the last free, as instructions want them.
        uint inStack = source.Below(8) == 0 ? (uint)source.Bits64() & 0xFF : 0x0F;
        int top = state.Top;
        state.Tags = (byte)((inStack << top) | (inStack >> (8 - top)));
        Float80 value = source.Float80();
        for (int i = 0; i < 8; i++)
        {
            state.SetPhysical(top + i, value);
            value = source.Near(value);
        }
        return state;
    }

    private static void FillMemory(OperandSource source, OperandKind memory, byte* at, Float80 near)
    {
        new Span<byte>(at, MemorySize).Fill(0xCC);
        switch (memory)
        {
            case OperandKind.Single:
                *(uint*)at = source.Bits32();
                break;
            case OperandKind.Double:
                *(ulong*)at = source.Double();
                break;
            case OperandKind.Extended:
                Float80 value = source.Near(near);
                *(ulong*)at = value.Significand;
                *(ushort*)(at + 8) = value.SignExponent;
                break;
            case OperandKind.Integer16:
                *(short*)at = (short)source.Bits64();
                break;
            case OperandKind.Integer:
                *(long*)at = (long)source.Bits64() >> source.Below(64);
                break;
            case OperandKind.Bcd:
                (*(ulong*)at, *(ushort*)(at + 8)) = source.Bcd();
                break;
            default:
                break;
        }
    }
}
