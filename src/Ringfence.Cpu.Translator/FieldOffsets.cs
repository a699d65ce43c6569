using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>Offsets of fields in <see cref="Op"/>.</summary>
internal static class OpOffsets
{
    public static int Immediate { get; } = (int)Marshal.OffsetOf<Op>(nameof(Op.Immediate));

    public static int Scale { get; } = (int)Marshal.OffsetOf<Op>(nameof(Op.Scale));
}

/// <summary>Offsets of fields in <see cref="TlbEntry"/>.</summary>
internal static class TlbOffsets
{
    public static int Read { get; } = (int)Marshal.OffsetOf<TlbEntry>(nameof(TlbEntry.Read));

    public static int Write { get; } = (int)Marshal.OffsetOf<TlbEntry>(nameof(TlbEntry.Write));

    public static int Execute { get; } = (int)Marshal.OffsetOf<TlbEntry>(nameof(TlbEntry.Execute));

    public static int Addend { get; } = (int)Marshal.OffsetOf<TlbEntry>(nameof(TlbEntry.Addend));
}

/// <summary>Offsets of fields in <see cref="Site"/>.</summary>
internal static class SiteOffsets
{
    public static int Tag { get; } = (int)Marshal.OffsetOf<Site>(nameof(Site.Tag));

    public static int Addend { get; } = (int)Marshal.OffsetOf<Site>(nameof(Site.Addend));
}

/// <summary>Offsets of fields in <see cref="JumpTableEntry"/>.</summary>
internal static class JumpTableOffsets
{
    public static int Linear { get; } = (int)Marshal.OffsetOf<JumpTableEntry>(nameof(JumpTableEntry.Linear));

    public static int Mode { get; } = (int)Marshal.OffsetOf<JumpTableEntry>(nameof(JumpTableEntry.Mode));

    public static int HostCode { get; } = (int)Marshal.OffsetOf<JumpTableEntry>(nameof(JumpTableEntry.HostCode));
}

/// <summary>Offsets of fields in the interpreter's <see cref="JumpCacheEntry"/>.</summary>
internal static class KnownJumpOffsets
{
    public static int Linear { get; } = (int)Marshal.OffsetOf<JumpCacheEntry>(nameof(JumpCacheEntry.Linear));

    public static int HostCode { get; } = (int)Marshal.OffsetOf<JumpCacheEntry>(nameof(JumpCacheEntry.HostCode));

    public static int Ops { get; } = (int)Marshal.OffsetOf<JumpCacheEntry>(nameof(JumpCacheEntry.Ops));

    public static int Mode { get; } = (int)Marshal.OffsetOf<JumpCacheEntry>(nameof(JumpCacheEntry.Mode));
}

/// <summary>Offsets of fields in <see cref="CpuidAnswer"/>.</summary>
internal static class AnswerOffsets
{
    public static int Leaf { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Leaf));

    public static int Subleaf { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Subleaf));

    public static int Eax { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Eax));

    public static int Ebx { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Ebx));

    public static int Ecx { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Ecx));

    public static int Edx { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.Edx));

    public static int IsKnown { get; } = (int)Marshal.OffsetOf<CpuidAnswer>(nameof(CpuidAnswer.IsKnown));
}
