namespace Ringfence.Cpu.Paravirtual;

/// <summary>From counts of the time-stamp counter to Hyper-V's reference time, which has units of 100 ns: times a number with 64 bits of fraction (TLFS, Timers).</summary>
/// <param name="Value">The fraction's bits.</param>
internal sealed record ReferenceScale(ulong Value)
{
    public const long UnitsPerSecond = 10_000_000;

    /// <summary>Rounded up, or a unit would come a count late.</summary>
    public static ReferenceScale Of(long hertz) => new((ulong)((((UInt128)UnitsPerSecond << 64) + (ulong)hertz - 1) / (ulong)hertz));

    public ulong ToUnits(ulong ticks) => Math.BigMul(ticks, Value, out _);

    /// <summary>The first count that is so many units, or the last there is.</summary>
    public long ToTicks(ulong units)
    {
        UInt128 ticks = (((UInt128)units << 64) + Value - 1) / Value;
        return ticks > long.MaxValue ? long.MaxValue : (long)ticks;
    }
}
