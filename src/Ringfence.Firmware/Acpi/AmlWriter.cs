using System.Buffers.Binary;
using System.Text;

namespace Ringfence.Firmware.Acpi;

/// <summary>Writes ACPI Machine Language (ACPI 6.4 chapter 20): the objects that a table of fixed devices needs, no methods.</summary>
internal sealed class AmlWriter
{
    private const byte NameOp = 0x08;
    private const byte StringPrefix = 0x0D;
    private const byte ScopeOp = 0x10;
    private const byte BufferOp = 0x11;
    private const byte PackageOp = 0x12;
    private const byte ExtendedPrefix = 0x5B;
    private const byte DeviceOp = 0x82;
    private readonly List<byte> _bytes = [];

    public byte[] ToArray() => [.. _bytes];

    /// <param name="path">A NameSeg of up to four characters, with a leading \ for the root.</param>
    public void Scope(string path, Action<AmlWriter> body) => Block([ScopeOp], inner => inner.Path(path), body);

    public void Device(string name, Action<AmlWriter> body) => Block([ExtendedPrefix, DeviceOp], inner => inner.Path(name), body);

    public void Name(string name, ulong value) => Named(name).Integer(value);

    public void Name(string name, string value) => Named(name).String(value);

    /// <summary>A _HID or _CID: an EISA ID such as "PNP0501", compressed to four bytes (ACPI 6.4 §19.6.36).</summary>
    public void EisaId(string name, string id)
    {
        int vendor = ((id[0] - 0x40) << 10) | ((id[1] - 0x40) << 5) | (id[2] - 0x40);
        uint product = Convert.ToUInt32(id[3..], 16);
        uint value = BinaryPrimitives.ReverseEndianness(((uint)vendor << 16) | product);
        Named(name)._bytes.Add(0x0C);
        Raw(value);
    }

    public void Package(string name, params ReadOnlySpan<ulong> values)
    {
        ulong[] elements = values.ToArray();
        Named(name).Block([PackageOp], inner => inner._bytes.Add((byte)elements.Length), inner =>
        {
            foreach (ulong element in elements)
            {
                inner.Integer(element);
            }
        });
    }

    /// <summary>_CRS: a buffer of resource descriptors, with the end tag added.</summary>
    public void Resources(Action<ResourceWriter> body)
    {
        var resources = new ResourceWriter();
        body(resources);
        byte[] content = resources.Finish();
        Named("_CRS").Block([BufferOp], inner => inner.Integer((ulong)content.Length), inner => inner._bytes.AddRange(content));
    }

    private AmlWriter Named(string name)
    {
        _bytes.Add(NameOp);
        Path(name);
        return this;
    }

    private void Path(string path)
    {
        if (path.StartsWith('\\'))
        {
            _bytes.Add((byte)'\\');
            path = path[1..];
        }
        if (path.Length == 0)
        {
            _bytes.Add(0);
            return;
        }
        _bytes.AddRange(Encoding.ASCII.GetBytes(path.PadRight(4, '_')));
    }

    private void Integer(ulong value)
    {
        switch (value)
        {
            case 0 or 1:
                _bytes.Add((byte)value);
                break;
            case <= byte.MaxValue:
                _bytes.AddRange([0x0A, (byte)value]);
                break;
            case <= ushort.MaxValue:
                _bytes.AddRange([0x0B, (byte)value, (byte)(value >> 8)]);
                break;
            case <= uint.MaxValue:
                _bytes.Add(0x0C);
                Raw((uint)value);
                break;
            default:
                _bytes.Add(0x0E);
                Raw((uint)value);
                Raw((uint)(value >> 32));
                break;
        }
    }

    private void String(string value)
    {
        _bytes.Add(StringPrefix);
        _bytes.AddRange(Encoding.ASCII.GetBytes(value));
        _bytes.Add(0);
    }

    private void Raw(uint value) => _bytes.AddRange(BitConverter.GetBytes(value));

    private void Block(ReadOnlySpan<byte> opcode, Action<AmlWriter> head, Action<AmlWriter> body)
    {
        var inner = new AmlWriter();
        head(inner);
        body(inner);
        _bytes.AddRange(opcode);
        PackageLength(inner._bytes.Count);
        _bytes.AddRange(inner._bytes);
    }

    /// <summary>PkgLength counts itself (ACPI 6.4 §20.2.4).</summary>
    private void PackageLength(int content)
    {
        if (content + 1 < 1 << 6)
        {
            _bytes.Add((byte)(content + 1));
        }
        else if (content + 2 < 1 << 12)
        {
            int length = content + 2;
            _bytes.AddRange([(byte)(0x40 | (length & 0xF)), (byte)(length >> 4)]);
        }
        else
        {
            int length = content + 3;
            _bytes.AddRange([(byte)(0x80 | (length & 0xF)), (byte)(length >> 4), (byte)(length >> 12)]);
        }
    }
}
