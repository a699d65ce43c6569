using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>A segment or gate descriptor as it stands in a table (SDM 3A 3.4.5, 5.8.3). System descriptors of long mode have a second half.</summary>
internal readonly struct Descriptor(ulong low, ulong high = 0)
{
    public uint Type => (uint)(low >> 40) & 15;

    public bool IsSystem => (low & (1UL << 44)) == 0;

    public uint Dpl => (uint)(low >> 45) & 3;

    public bool Present => (low & (1UL << 47)) != 0;

    public bool Long => (low & (1UL << 53)) != 0;

    public bool Big => (low & (1UL << 54)) != 0;

    public bool IsCode => !IsSystem && (Type & 8) != 0;

    public bool IsConforming => IsCode && (Type & 4) != 0;

    public bool IsReadable => !IsSystem && (!IsCode || (Type & 2) != 0);

    public bool IsWritableData => !IsSystem && !IsCode && (Type & 2) != 0;

    public bool IsAccessed => (Type & 1) != 0;

    public uint Base32 => (uint)((low >> 16) & 0xFF_FFFF) | (uint)((low >> 32) & 0xFF00_0000);

    public ulong Base64 => Base32 | (high << 32);

    public uint Limit
    {
        get
        {
            uint limit = (uint)(low & 0xFFFF) | (uint)((low >> 32) & 0xF_0000);
            return (low & (1UL << 55)) != 0 ? (limit << 12) | 0xFFF : limit;
        }
    }

    /// <summary>As <see cref="SegmentRegister.Attributes"/>.</summary>
    public uint Attributes => (uint)(low >> 40) & 0xF0FF;

    public ushort GateSelector => (ushort)(low >> 16);

    public uint GateOffset32 => (uint)(low & 0xFFFF) | (uint)((low >> 32) & 0xFFFF_0000);

    public ulong GateOffset64 => GateOffset32 | (high << 32);

    public uint GateCount => (uint)(low >> 32) & 31;

    /// <summary>Which interrupt-stack-table entry a 64-bit gate names, 0 for none.</summary>
    public uint GateIst => (uint)(low >> 32) & 7;

    public SegmentRegister ToSegment(ushort selector, bool wideBase = false) => new()
    {
        Selector = selector,
        Base = wideBase ? Base64 : Base32,
        Limit = Limit,
        Attributes = Attributes,
    };
}
