using System.Text;

namespace Ringfence.Firmware.Acpi;

/// <summary>Bytes of one ACPI table, appended in order; <see cref="Finish"/> sets length and checksum (ACPI 6.4 §5.2.6).</summary>
internal sealed class TableBuilder
{
    private const int LengthOffset = 4;
    private const int ChecksumOffset = 9;
    private readonly List<byte> _bytes = [];

    public TableBuilder(string signature, byte revision)
    {
        Ascii(signature).U32(0).U8(revision).U8(0).Ascii("RNGFNC").Ascii("RINGFENC").U32(1).Ascii("RNGF").U32(1);
    }

    public TableBuilder U8(byte value)
    {
        _bytes.Add(value);
        return this;
    }

    public TableBuilder U16(ushort value) => Bytes(BitConverter.GetBytes(value));

    public TableBuilder U32(uint value) => Bytes(BitConverter.GetBytes(value));

    public TableBuilder U64(ulong value) => Bytes(BitConverter.GetBytes(value));

    public TableBuilder Ascii(string text) => Bytes(Encoding.ASCII.GetBytes(text));

    public TableBuilder Bytes(ReadOnlySpan<byte> bytes)
    {
        _bytes.AddRange(bytes);
        return this;
    }

    public TableBuilder Zero(int count) => Bytes(new byte[count]);

    /// <summary>A Generic Address Structure for ports (ACPI 6.4 §5.2.3.2). Port 0 with width 0 says that there is none.</summary>
    /// <param name="access">1 byte, 2 word, 3 dword.</param>
    public TableBuilder PortRegister(ushort port, byte bits, byte access) =>
        port == 0 ? Zero(12) : U8(1).U8(bits).U8(0).U8(access).U64(port);

    public byte[] Finish()
    {
        byte[] table = [.. _bytes];
        BitConverter.TryWriteBytes(table.AsSpan(LengthOffset), table.Length);
        table[ChecksumOffset] = Checksum(table);
        return table;
    }

    /// <summary>What makes the sum of all bytes 0.</summary>
    public static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
        {
            sum += b;
        }
        return (byte)-sum;
    }
}
