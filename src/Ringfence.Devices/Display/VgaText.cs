using Ringfence.Devices.Buses;
using Ringfence.Host;

namespace Ringfence.Devices.Display;

/// <summary>The registers and the text memory of a <see cref="VgaText"/>.</summary>
public sealed record VgaTextState
{
    public byte[] Memory { get; init; } = [];
    public byte[] Crtc { get; init; } = [];
    public byte[] Attribute { get; init; } = [];
    public byte[] Sequencer { get; init; } = [];
    public byte[] Graphics { get; init; } = [];
    public byte[] Palette { get; init; } = [];
    public byte CrtcIndex { get; init; }
    public byte AttributeIndex { get; init; }
    public bool AttributeExpectsData { get; init; }
    public byte SequencerIndex { get; init; }
    public byte GraphicsIndex { get; init; }
    public byte Miscellaneous { get; init; }
    public byte Feature { get; init; }
    public byte Enable { get; init; }
    public byte PaletteMask { get; init; }
    public byte PaletteReadIndex { get; init; }
    public byte PaletteWriteIndex { get; init; }
    public byte PaletteComponent { get; init; }
    public bool PaletteReads { get; init; }
}

/// <summary>
/// A VGA in its 80 by 25 text mode (IBM VGA, 1987), as its BIOS leaves it: 32 KiB of text memory, at 0xB8000, and the ports 0x3B0 to
/// 0x3DF, of which offsets are counted from <see cref="FirstPort"/>. All registers hold what is written; those that say where the text
/// begins, how wide it is and where the cursor stands have effect, on <see cref="Read"/>. There is no graphics memory.
/// Thread-safe; the text memory is as bytes are that several processors share.
/// </summary>
public sealed class VgaText : IPortDevice, IMemoryDevice
{
    public const ushort FirstPort = 0x3B0;
    public const int PortCount = 0x30;
    public const int MemorySize = 32 << 10;

    // Offsets from the first port. The CRTC and the second status are at 0x3Bx for a monochrome display, at 0x3Dx for a colour one.
    private const int MonochromeCrtc = 0x04;
    private const int MonochromeStatus = 0x0A;
    private const int AttributeWrite = 0x10;
    private const int AttributeRead = 0x11;
    private const int MiscellaneousWrite = 0x12;
    private const int EnableAdapter = 0x13;
    private const int SequencerIndex = 0x14;
    private const int SequencerData = 0x15;
    private const int PaletteMask = 0x16;
    private const int PaletteState = 0x17;
    private const int PaletteIndex = 0x18;
    private const int PaletteData = 0x19;
    private const int FeatureRead = 0x1A;
    private const int MiscellaneousRead = 0x1C;
    private const int GraphicsIndex = 0x1E;
    private const int GraphicsData = 0x1F;
    private const int ColourCrtc = 0x24;
    private const int ColourStatus = 0x2A;

    private const int CrtcColumns = 0x01;
    private const int CrtcOverflow = 0x07;
    private const int CrtcCharacterHeight = 0x09;
    private const int CrtcCursorStart = 0x0A;
    private const int CrtcStart = 0x0C;
    private const int CrtcCursor = 0x0E;
    private const int CrtcProtect = 0x11;
    private const int CrtcLines = 0x12;
    private const int CrtcOffset = 0x13;

    /// <summary>Lines of a frame, lines a second, and the line where the vertical retrace begins, in this mode.</summary>
    private const long FrameLines = 449;
    private const long LinesPerSecond = 31_469;
    private const long RetraceLine = 412;
    private const int Nanosecond = 1_000_000_000;

    private readonly Lock _lock = new();
    private readonly IClock _clock;
    private readonly ByteRegisters _registers;
    private readonly byte[] _memory = new byte[MemorySize];
    private readonly byte[] _crtc =
    [
        0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00,
        0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
    ];
    private readonly byte[] _attribute =
        [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00];
    private readonly byte[] _sequencer = [0x03, 0x00, 0x03, 0x00, 0x02];
    private readonly byte[] _graphics = [0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF];
    private readonly byte[] _palette = new byte[256 * 3];
    private byte _crtcIndex;
    private byte _attributeIndex = 0x20;
    private bool _attributeExpectsData;
    private byte _sequencerIndex;
    private byte _graphicsIndex;
    private byte _miscellaneous = 0x67;
    private byte _feature;
    private byte _enable = 1;
    private byte _paletteMask = 0xFF;
    private byte _paletteReadIndex;
    private byte _paletteWriteIndex;
    private byte _paletteComponent;
    private bool _paletteReads;

    public VgaText(IClock clock)
    {
        _clock = clock;
        _registers = new ByteRegisters(ReadRegister, WriteRegister);
        for (int i = 0; i < MemorySize; i += 2)
        {
            _memory[i] = (byte)' ';
            _memory[i + 1] = 7;
        }
        for (int colour = 0; colour < 64; colour++)
        {
            // Two bits for each of red, green and blue: RGBrgb, where the small letters are two thirds.
            for (int component = 0; component < 3; component++)
            {
                int high = (colour >> (2 - component)) & 1;
                int low = (colour >> (5 - component)) & 1;
                _palette[(colour * 3) + component] = (byte)((high * 42) + (low * 21));
            }
        }
    }

    /// <summary>What is on the screen now.</summary>
    public TextScreen Read()
    {
        lock (_lock)
        {
            if ((_graphics[6] & 1) != 0)
            {
                return TextScreen.Graphics;
            }
            int columns = _crtc[CrtcColumns] + 1;
            int lines = (_crtc[CrtcLines] | ((_crtc[CrtcOverflow] & 2) << 7) | ((_crtc[CrtcOverflow] & 0x40) << 3)) + 1;
            int rows = Math.Clamp(lines / ((_crtc[CrtcCharacterHeight] & 0x1F) + 1), 1, TextScreen.MostRows);
            int pitch = _crtc[CrtcOffset] * 2;
            int start = (_crtc[CrtcStart] << 8) | _crtc[CrtcStart + 1];
            int cursor = ((_crtc[CrtcCursor] << 8) | _crtc[CrtcCursor + 1]) - start;
            bool visible = (_crtc[CrtcCursorStart] & 0x20) == 0 && pitch > 0 && cursor >= 0 && cursor / pitch < rows && cursor % pitch < columns;
            byte[] cells = new byte[rows * columns];
            for (int i = 0; i < cells.Length; i++)
            {
                cells[i] = _memory[(start + (i / columns * pitch) + (i % columns)) * 2 % MemorySize];
            }
            return new TextScreen(rows, columns, cells, visible ? cursor / pitch : -1, visible ? cursor % pitch : -1);
        }
    }

    public uint ReadPort(ushort offset, int size) => _registers.ReadPort(offset, size);

    public void WritePort(ushort offset, int size, uint value) => _registers.WritePort(offset, size, value);

    public ulong ReadMemory(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (ulong)_memory[((int)offset + i) % MemorySize] << (i * 8);
        }
        return value;
    }

    public void WriteMemory(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size; i++)
        {
            _memory[((int)offset + i) % MemorySize] = (byte)(value >> (i * 8));
        }
    }

    public VgaTextState Save()
    {
        lock (_lock)
        {
            return new VgaTextState
            {
                Memory = [.. _memory],
                Crtc = [.. _crtc],
                Attribute = [.. _attribute],
                Sequencer = [.. _sequencer],
                Graphics = [.. _graphics],
                Palette = [.. _palette],
                CrtcIndex = _crtcIndex,
                AttributeIndex = _attributeIndex,
                AttributeExpectsData = _attributeExpectsData,
                SequencerIndex = _sequencerIndex,
                GraphicsIndex = _graphicsIndex,
                Miscellaneous = _miscellaneous,
                Feature = _feature,
                Enable = _enable,
                PaletteMask = _paletteMask,
                PaletteReadIndex = _paletteReadIndex,
                PaletteWriteIndex = _paletteWriteIndex,
                PaletteComponent = _paletteComponent,
                PaletteReads = _paletteReads,
            };
        }
    }

    public void Restore(VgaTextState state)
    {
        lock (_lock)
        {
            Fill(_memory, state.Memory);
            Fill(_crtc, state.Crtc);
            Fill(_attribute, state.Attribute);
            Fill(_sequencer, state.Sequencer);
            Fill(_graphics, state.Graphics);
            Fill(_palette, state.Palette);
            _crtcIndex = state.CrtcIndex;
            _attributeIndex = state.AttributeIndex;
            _attributeExpectsData = state.AttributeExpectsData;
            _sequencerIndex = state.SequencerIndex;
            _graphicsIndex = state.GraphicsIndex;
            _miscellaneous = state.Miscellaneous;
            _feature = state.Feature;
            _enable = state.Enable;
            _paletteMask = state.PaletteMask;
            _paletteReadIndex = state.PaletteReadIndex;
            _paletteWriteIndex = state.PaletteWriteIndex;
            _paletteComponent = (byte)(state.PaletteComponent % 3);
            _paletteReads = state.PaletteReads;
        }
    }

    private static void Fill(byte[] to, byte[] from) => from.AsSpan(0, Math.Min(from.Length, to.Length)).CopyTo(to);

    private byte ReadRegister(ushort offset)
    {
        lock (_lock)
        {
            return Mapped(offset) switch
            {
                ColourCrtc => _crtcIndex,
                ColourCrtc + 1 => Register(_crtc, _crtcIndex),
                ColourStatus => ReadStatus(),
                AttributeWrite => _attributeIndex,
                AttributeRead => Register(_attribute, (byte)(_attributeIndex & 0x1F)),
                // Input status 0: the monitor's sense.
                MiscellaneousWrite => 0x10,
                EnableAdapter => _enable,
                SequencerIndex => _sequencerIndex,
                SequencerData => Register(_sequencer, _sequencerIndex),
                PaletteMask => _paletteMask,
                PaletteState => (byte)(_paletteReads ? 3 : 0),
                PaletteIndex => _paletteWriteIndex,
                PaletteData => ReadPalette(),
                FeatureRead => _feature,
                MiscellaneousRead => _miscellaneous,
                GraphicsIndex => _graphicsIndex,
                GraphicsData => Register(_graphics, _graphicsIndex),
                _ => 0xFF,
            };
        }
    }

    private void WriteRegister(ushort offset, byte value)
    {
        lock (_lock)
        {
            switch (Mapped(offset))
            {
                case ColourCrtc:
                    _crtcIndex = value;
                    break;
                case ColourCrtc + 1:
                    WriteCrtc(value);
                    break;
                case ColourStatus:
                    _feature = value;
                    break;
                case AttributeWrite:
                    WriteAttribute(value);
                    break;
                case MiscellaneousWrite:
                    _miscellaneous = value;
                    break;
                case EnableAdapter:
                    _enable = value;
                    break;
                case SequencerIndex:
                    _sequencerIndex = value;
                    break;
                case SequencerData:
                    SetRegister(_sequencer, _sequencerIndex, value);
                    break;
                case PaletteMask:
                    _paletteMask = value;
                    break;
                case PaletteState:
                    _paletteReadIndex = value;
                    (_paletteComponent, _paletteReads) = (0, true);
                    break;
                case PaletteIndex:
                    _paletteWriteIndex = value;
                    (_paletteComponent, _paletteReads) = (0, false);
                    break;
                case PaletteData:
                    _palette[(_paletteWriteIndex * 3) + _paletteComponent] = (byte)(value & 0x3F);
                    StepPalette(ref _paletteWriteIndex);
                    break;
                case GraphicsIndex:
                    _graphicsIndex = value;
                    break;
                case GraphicsData:
                    SetRegister(_graphics, _graphicsIndex, value);
                    break;
                default:
                    break;
            }
        }
    }

    /// <summary>Bit 0 of the miscellaneous output register says whether the CRTC is at 0x3Dx or 0x3Bx: the other place is empty (-1).</summary>
    private int Mapped(int offset)
    {
        bool colour = (_miscellaneous & 1) != 0;
        return offset switch
        {
            MonochromeCrtc or MonochromeCrtc + 1 or MonochromeStatus => colour ? -1 : offset + (ColourCrtc - MonochromeCrtc),
            ColourCrtc or ColourCrtc + 1 or ColourStatus => colour ? offset : -1,
            _ => offset,
        };
    }

    /// <summary>Input status 1: bit 3 during the vertical retrace, bit 0 whenever nothing is drawn. Reading it makes the attribute
    /// port take an index next.</summary>
    private byte ReadStatus()
    {
        _attributeExpectsData = false;
        long position = (long)((Int128)_clock.Now * LinesPerSecond * 100 / Nanosecond);
        long line = position / 100 % FrameLines;
        bool drawn = line < RetraceLine - 12 && position % 100 < 80;
        return (byte)((drawn ? 0 : 1) | (line is RetraceLine or RetraceLine + 1 ? 8 : 0));
    }

    private void WriteAttribute(byte value)
    {
        if (_attributeExpectsData)
        {
            SetRegister(_attribute, (byte)(_attributeIndex & 0x1F), value);
        }
        else
        {
            _attributeIndex = (byte)(value & 0x3F);
        }
        _attributeExpectsData = !_attributeExpectsData;
    }

    /// <summary>Registers 0 to 7 may be locked, but for bit 4 of the last, which belongs to the line compare.</summary>
    private void WriteCrtc(byte value)
    {
        if (_crtcIndex <= CrtcOverflow && (_crtc[CrtcProtect] & 0x80) != 0)
        {
            if (_crtcIndex == CrtcOverflow)
            {
                _crtc[CrtcOverflow] = (byte)((_crtc[CrtcOverflow] & ~0x10) | (value & 0x10));
            }
            return;
        }
        SetRegister(_crtc, _crtcIndex, value);
    }

    private byte ReadPalette()
    {
        byte value = _palette[(_paletteReadIndex * 3) + _paletteComponent];
        StepPalette(ref _paletteReadIndex);
        return value;
    }

    private void StepPalette(ref byte index)
    {
        _paletteComponent++;
        if (_paletteComponent == 3)
        {
            _paletteComponent = 0;
            index++;
        }
    }

    private static byte Register(byte[] registers, byte index) => index < registers.Length ? registers[index] : (byte)0xFF;

    private static void SetRegister(byte[] registers, byte index, byte value)
    {
        if (index < registers.Length)
        {
            registers[index] = value;
        }
    }
}
