using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Guests on processors with AVX-512, for tests that are skipped on hosts without.</summary>
internal static unsafe class WideGuest
{
    public const ulong OsXsave = 1 << 18;
    public const ulong Enabled = 0xE7;

    /// <param name="threshold">How often a block runs before it is translated.</param>
    /// <param name="enabled">Whether the system has enabled AVX-512.</param>
    public static Guest Start(GuestMode mode, int threshold, bool enabled = true, bool verify = false)
    {
        Assert.SkipUnless(CpuModel.Host.Has(CpuFeature.Avx512F), "needs an x86-64 host with AVX-512");
        var guest = new Guest(mode, new TranslatorFactory(EngineUnderTest.Eager with { Threshold = threshold, Verify = verify }), CpuModel.Host);
        if (enabled)
        {
            guest.State->Cr4 |= OsXsave;
            guest.State->Xcr0 = Enabled;
            guest.Processor.StateLoaded();
        }
        return guest;
    }

    public static byte* Vector(Guest guest, int number) => guest.State->Vectors + (64 * number);
}
