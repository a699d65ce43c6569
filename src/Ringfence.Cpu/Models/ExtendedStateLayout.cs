namespace Ringfence.Cpu.Models;

/// <summary>
/// The components of the extended state that a model has, and where they lie in an XSAVE area (SDM 1 13.4, 13.5; CPUID leaf 0DH).
/// The standard format leaves room for components that others of the vendor's processors have.
/// </summary>
internal readonly struct ExtendedStateLayout
{
    public const ulong X87 = 1;
    public const ulong Sse = 2;
    public const ulong Avx = 4;
    /// <summary>Three components, enabled together.</summary>
    public const ulong Avx512 = 0xE0;
    public const ulong Pkru = 0x200;

    public const int AvxNumber = 2;
    public const int OpmaskNumber = 5;
    /// <summary>Bits 256 to 511 of ZMM0 to ZMM15.</summary>
    public const int UpperNumber = 6;
    /// <summary>ZMM16 to ZMM31.</summary>
    public const int HighNumber = 7;
    public const int PkruNumber = 9;

    /// <summary>The legacy region, with x87 and SSE, and the header.</summary>
    public const int HeaderOffset = 512;
    public const int HeaderEnd = 576;

    private readonly int _opmaskOffset;
    private readonly int _pkruOffset;

    public ExtendedStateLayout(CpuModel model)
    {
        bool avx512 = model.Has(CpuFeature.Avx512F);
        User = X87 | Sse | (model.Has(CpuFeature.Avx) ? Avx : 0) | (avx512 ? Avx512 : 0) | (model.Has(CpuFeature.ProtectionKeys) ? Pkru : 0);
        // Intel's leave room for MPX and AVX-512, AMD's for what the processor has.
        (_opmaskOffset, _pkruOffset) = model.ExtendedStateOffsets ?? (model.IsIntel ? (1088, 2688) : (832, avx512 ? 2432 : 832));
    }

    /// <summary>What XCR0 can enable.</summary>
    public ulong User { get; }

    /// <summary>What IA32_XSS can enable: no component of the kind is implemented.</summary>
    public ulong Supervisor => 0;

    public static int SizeOf(int component) => component switch
    {
        AvxNumber => 256,
        OpmaskNumber => 64,
        UpperNumber => 512,
        HighNumber => 1024,
        PkruNumber => 8,
        _ => 0,
    };

    /// <summary>In the standard format.</summary>
    public int Offset(int component) => component switch
    {
        AvxNumber => HeaderEnd,
        OpmaskNumber => _opmaskOffset,
        UpperNumber => _opmaskOffset + SizeOf(OpmaskNumber),
        HighNumber => _opmaskOffset + SizeOf(OpmaskNumber) + SizeOf(UpperNumber),
        PkruNumber => _pkruOffset,
        _ => 0,
    };

    /// <summary>In the compacted format, whose XCOMP_BV has <paramref name="components"/>. None of the components asks for alignment.</summary>
    public static int CompactOffset(ulong components, int component)
    {
        int offset = HeaderEnd;
        for (int before = AvxNumber; before < component; before++)
        {
            offset += ((components >> before) & 1) != 0 ? SizeOf(before) : 0;
        }
        return offset;
    }

    /// <summary>Bytes of a standard area with these components.</summary>
    public int Size(ulong components)
    {
        int size = HeaderEnd;
        for (int component = AvxNumber; component <= PkruNumber; component++)
        {
            size = ((components >> component) & 1) != 0 ? Math.Max(size, Offset(component) + SizeOf(component)) : size;
        }
        return size;
    }

    public static int CompactSize(ulong components) => CompactOffset(components, PkruNumber + 1);
}
