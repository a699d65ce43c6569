using System.Globalization;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>As something to keep: snapshots and other engines ask for them by number.</summary>
internal sealed unsafe partial class ModelSpecificRegisters
{
    /// <summary>Those that hold something of their own. Not here: EFER, the bases of FS and GS, the local APIC's, counters, capabilities.</summary>
    private static readonly uint[] s_kept =
        [0x174, 0x175, 0x176, 0x277, 0x6E1, 0xDA0, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103];

    public IReadOnlyDictionary<uint, ulong> Save()
    {
        Dictionary<uint, ulong> values = new(_plain);
        foreach (uint msr in s_kept)
        {
            if (Read(msr, out ulong value))
            {
                values[msr] = value;
            }
            else
            {
                processor.ForgetFault();
            }
        }
        return values;
    }

    /// <exception cref="ArgumentException">There is no such register here, or it cannot hold that.</exception>
    public void Load(IReadOnlyDictionary<uint, ulong> values)
    {
        foreach ((uint msr, ulong value) in values)
        {
            if (!Write(msr, value))
            {
                processor.ForgetFault();
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"MSR {msr:x} cannot be {value:x} here"), nameof(values));
            }
        }
    }
}
