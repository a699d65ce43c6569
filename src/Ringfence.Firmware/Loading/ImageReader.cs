using System.Buffers.Binary;

namespace Ringfence.Firmware.Loading;

/// <summary>Little-endian reads of an untrusted file: what lies outside it is a <see cref="GuestLoadException"/>.</summary>
internal readonly ref struct ImageReader
{
    private readonly GuestFile _file;
    private readonly ReadOnlySpan<byte> _bytes;

    public ImageReader(GuestFile file)
    {
        _file = file;
        _bytes = file.Bytes;
    }

    public ulong Length => (ulong)_bytes.Length;

    public ReadOnlySpan<byte> Slice(ulong offset, ulong length, string what)
    {
        if (offset > Length || length > Length - offset)
        {
            throw _file.Error($"truncated: {what} needs {length} bytes at 0x{offset:x}, the file has {Length}");
        }
        return _bytes.Slice((int)offset, (int)length);
    }

    public byte U8(ulong offset, string what) => Slice(offset, 1, what)[0];

    public ushort U16(ulong offset, string what) => BinaryPrimitives.ReadUInt16LittleEndian(Slice(offset, 2, what));

    public uint U32(ulong offset, string what) => BinaryPrimitives.ReadUInt32LittleEndian(Slice(offset, 4, what));

    public ulong U64(ulong offset, string what) => BinaryPrimitives.ReadUInt64LittleEndian(Slice(offset, 8, what));
}
