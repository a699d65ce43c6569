namespace Ringfence.Engine;

/// <summary>What a processor tells guests that it is.</summary>
/// <param name="Name">As it was asked for.</param>
/// <param name="About">One line for people.</param>
/// <param name="Vendor">12 characters: "GenuineIntel".</param>
/// <param name="Signature">CPUID.1:EAX, which packs the three numbers before it.</param>
/// <param name="Caches">A line each: "L2 512 KiB, 8 ways".</param>
/// <param name="Features">In the order of CPUID's leaves, registers and bits.</param>
public sealed record CpuDescription(
    string Name, string About, string Vendor, uint Family, uint Model, uint Stepping, uint Signature, string Brand,
    IReadOnlyList<string> Caches, IReadOnlyList<CpuFeatureDescription> Features);

/// <param name="Name">As in Linux's /proc/cpuinfo.</param>
/// <param name="Group">Where CPUID has it: "7.0 EBX".</param>
/// <param name="Withheld">Null when guests see it; otherwise why not, though the model has it.</param>
public sealed record CpuFeatureDescription(string Name, string Group, string? Withheld);

/// <summary>There is no processor such as was asked for. The message is one line that names the thing and the reason.</summary>
public sealed class CpuModelException : Exception
{
    public CpuModelException()
    {
    }

    public CpuModelException(string message)
        : base(message)
    {
    }

    public CpuModelException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
