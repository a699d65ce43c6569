using System.Globalization;
using System.Text;

namespace Ringfence.Debugging;

/// <summary>Types that target descriptions define (GDB manual G.3): registers of flags, and vectors that can be looked at in several ways.</summary>
internal static class TargetTypes
{
    public static string Core { get; } = Flags("i386_eflags", 4,
    [
        ("CF", 0), ("", 1), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9), ("DF", 10), ("OF", 11), ("NT", 14), ("RF", 16), ("VM", 17),
        ("AC", 18), ("VIF", 19), ("VIP", 20), ("ID", 21),
    ]);

    private static readonly string Vec128 =
        Vector("v8bf16", "bfloat16", 8) + Vector("v4f", "ieee_single", 4) + Vector("v2d", "ieee_double", 2) + Vector("v16i8", "int8", 16)
        + Vector("v8i16", "int16", 8) + Vector("v4i32", "int32", 4) + Vector("v2i64", "int64", 2)
        + """
        <union id="vec128"><field name="v8_bfloat16" type="v8bf16"/><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/><field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>

        """;

    public static string Sse { get; } = Vec128
        + Flags("i386_mxcsr", 4,
        [
            ("IE", 0), ("DE", 1), ("ZE", 2), ("OE", 3), ("UE", 4), ("PE", 5), ("DAZ", 6), ("IM", 7), ("DM", 8), ("ZM", 9), ("OM", 10), ("UM", 11), ("PM", 12),
            ("FZ", 15),
        ]);

    /// <summary>Types are known within their feature only.</summary>
    public static string Avx512 { get; } = Vec128 + Vector("v2ui128", "uint128", 2);

    public static string System { get; } =
        Flags("cr0", 8, [("PE", 0), ("MP", 1), ("EM", 2), ("TS", 3), ("ET", 4), ("NE", 5), ("WP", 16), ("AM", 18), ("NW", 29), ("CD", 30), ("PG", 31)])
        + Flags("cr4", 8,
        [
            ("VME", 0), ("PVI", 1), ("TSD", 2), ("DE", 3), ("PSE", 4), ("PAE", 5), ("MCE", 6), ("PGE", 7), ("PCE", 8), ("OSFXSR", 9), ("OSXMMEXCPT", 10),
            ("UMIP", 11), ("LA57", 12), ("VMXE", 13), ("FSGSBASE", 16), ("PCIDE", 17), ("OSXSAVE", 18), ("SMEP", 20), ("SMAP", 21), ("PKE", 22),
        ])
        + Flags("efer", 8, [("SCE", 0), ("LME", 8), ("LMA", 10), ("NXE", 11), ("SVME", 12), ("FFXSR", 14)]);

    private static string Flags(string name, int bytes, (string Name, int Bit)[] bits)
    {
        StringBuilder xml = new();
        xml.Append(CultureInfo.InvariantCulture, $"<flags id=\"{name}\" size=\"{bytes}\">");
        foreach ((string bit, int number) in bits)
        {
            xml.Append(CultureInfo.InvariantCulture, $"<field name=\"{bit}\" start=\"{number}\" end=\"{number}\"/>");
        }
        return xml.Append("</flags>\n").ToString();
    }

    private static string Vector(string name, string type, int count) =>
        string.Create(CultureInfo.InvariantCulture, $"<vector id=\"{name}\" type=\"{type}\" count=\"{count}\"/>\n");
}
