using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Fuzz;

/// <summary>What kind of code the fuzzer's guests run, and how their memory is mapped.</summary>
public enum FuzzMode
{
    Real,
    /// <summary>Virtual-8086 mode; CR4.VME is random as CR4's other bits are.</summary>
    Virtual8086,
    Virtual8086Paging,
    Protected16,
    Protected16User,
    Flat32,
    Flat32User,
    /// <summary>Segments with limits, one that expands down.</summary>
    Segmented32,
    Segmented32User,
    Paging32,
    Paging32User,
    Pae,
    PaeUser,
    Long,
    LongUser,
    Long5,
    Long5User,
    Compatibility,
    CompatibilityUser,
    Compatibility16,
}

internal enum FuzzPaging
{
    None,
    TwoLevel,
    Pae,
    FourLevel,
    FiveLevel,
}

internal static class FuzzModes
{
    /// <summary>All of a mode's runs are spread over these, as far as they have it.</summary>
    public static IReadOnlyList<CpuModel> Models(FuzzMode mode) => mode is FuzzMode.Long5 or FuzzMode.Long5User
        ? [CpuModel.Max]
        : [EngineUnderTest.Translators is null ? CpuModel.Max : CpuModel.Host, CpuModel.Find("Skylake-Client")!, CpuModel.X8664V1];

    public static GuestMode Base(FuzzMode mode) => mode switch
    {
        FuzzMode.Real => GuestMode.Real,
        FuzzMode.Protected16 or FuzzMode.Protected16User => GuestMode.Protected16,
        FuzzMode.Long or FuzzMode.LongUser or FuzzMode.Long5 or FuzzMode.Long5User => GuestMode.Long,
        FuzzMode.Compatibility or FuzzMode.CompatibilityUser or FuzzMode.Compatibility16 => GuestMode.Compatibility,
        _ => GuestMode.Protected32,
    };

    public static FuzzPaging Paging(FuzzMode mode) => mode switch
    {
        FuzzMode.Paging32 or FuzzMode.Paging32User or FuzzMode.Virtual8086Paging => FuzzPaging.TwoLevel,
        FuzzMode.Pae or FuzzMode.PaeUser => FuzzPaging.Pae,
        FuzzMode.Long5 or FuzzMode.Long5User => FuzzPaging.FiveLevel,
        _ => Base(mode) is GuestMode.Long or GuestMode.Compatibility ? FuzzPaging.FourLevel : FuzzPaging.None,
    };

    public static bool IsVirtual8086(FuzzMode mode) => mode is FuzzMode.Virtual8086 or FuzzMode.Virtual8086Paging;

    /// <summary>Level 3.</summary>
    public static bool IsUser(FuzzMode mode) => mode is FuzzMode.Protected16User or FuzzMode.Flat32User or FuzzMode.Segmented32User
        or FuzzMode.Paging32User or FuzzMode.PaeUser or FuzzMode.LongUser or FuzzMode.Long5User or FuzzMode.CompatibilityUser || IsVirtual8086(mode);

    public static int Bits(FuzzMode mode) => mode switch
    {
        FuzzMode.Real or FuzzMode.Virtual8086 or FuzzMode.Virtual8086Paging or FuzzMode.Protected16 or FuzzMode.Protected16User
            or FuzzMode.Compatibility16 => 16,
        FuzzMode.Long or FuzzMode.LongUser or FuzzMode.Long5 or FuzzMode.Long5User => 64,
        _ => 32,
    };
}
