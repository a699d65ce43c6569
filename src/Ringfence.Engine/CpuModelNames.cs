namespace Ringfence.Engine;

/// <summary>CPU models that every engine knows; <see cref="IEngine.CpuModels"/> has all.</summary>
public static class CpuModelNames
{
    /// <summary>The x86-64 psABI's baseline level.</summary>
    public const string X8664V1 = "x86-64-v1";
    /// <summary>All that the engine implements.</summary>
    public const string Max = "max";
}
