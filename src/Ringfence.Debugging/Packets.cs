namespace Ringfence.Debugging;

/// <summary>What a debugger sent.</summary>
internal enum IncomingKind
{
    /// <summary>A packet whose checksum is right.</summary>
    Packet,
    /// <summary>A packet whose checksum is wrong, or that is too long.</summary>
    Broken,
    /// <summary>Ctrl-C: the byte 3 outside a packet.</summary>
    Interrupt,
    Acknowledged,
    /// <summary>The last packet is to be sent again.</summary>
    Refused,
}

/// <param name="Body">A packet's, its escapes resolved.</param>
internal readonly record struct Incoming(IncomingKind Kind, byte[] Body);

/// <summary>The frames of gdb's remote serial protocol (GDB manual E.1): <c>$body#checksum</c>, in which <c>}</c> escapes the byte after it.</summary>
internal static class Packets
{
    /// <summary>The longest body either side sends.</summary>
    public const int MaximumBody = 0x4000;

    private const byte Start = (byte)'$';
    private const byte End = (byte)'#';
    private const byte Escape = (byte)'}';
    private const byte Repeat = (byte)'*';
    private const byte EscapeMask = 0x20;

    /// <summary>Frames a body, escaping what must be.</summary>
    public static byte[] Frame(ReadOnlySpan<byte> body)
    {
        List<byte> frame = new(body.Length + 4) { Start };
        byte sum = 0;
        foreach (byte value in body)
        {
            if (value is Start or End or Escape or Repeat)
            {
                frame.Add(Escape);
                frame.Add((byte)(value ^ EscapeMask));
                sum += Escape;
            }
            else
            {
                frame.Add(value);
            }
            sum += frame[^1];
        }
        frame.Add(End);
        frame.Add(HexDigit(sum >> 4));
        frame.Add(HexDigit(sum & 15));
        return [.. frame];
    }

    private static byte HexDigit(int value) => (byte)"0123456789abcdef"[value];

    /// <summary>Takes a stream of bytes apart. Whatever comes, it goes on.</summary>
    internal sealed class Reader
    {
        private readonly List<byte> _body = [];
        private State _state;
        private byte _sum;
        private int _claimed;
        private bool _tooLong;

        private enum State
        {
            Outside,
            Body,
            Escaped,
            FirstDigit,
            SecondDigit,
        }

        /// <summary>What the next byte completes, or null.</summary>
        public Incoming? Read(byte value)
        {
            switch (_state)
            {
                case State.Outside:
                    return ReadOutside(value);
                case State.Body or State.Escaped when value == Start:
                    // The other side began anew.
                    Begin();
                    return null;
                case State.Body or State.Escaped when value == End:
                    _state = State.FirstDigit;
                    return null;
                case State.Body:
                    _sum += value;
                    if (value == Escape)
                    {
                        _state = State.Escaped;
                    }
                    else
                    {
                        Keep(value);
                    }
                    return null;
                case State.Escaped:
                    _sum += value;
                    Keep((byte)(value ^ EscapeMask));
                    _state = State.Body;
                    return null;
                case State.FirstDigit:
                    _claimed = Digit(value) << 4;
                    _state = State.SecondDigit;
                    return null;
                default:
                    _claimed |= Digit(value);
                    _state = State.Outside;
                    return _claimed == _sum && !_tooLong ? new Incoming(IncomingKind.Packet, [.. _body]) : new Incoming(IncomingKind.Broken, []);
            }
        }

        private Incoming? ReadOutside(byte value)
        {
            switch (value)
            {
                case Start:
                    Begin();
                    return null;
                case 3:
                    return new Incoming(IncomingKind.Interrupt, []);
                case (byte)'+':
                    return new Incoming(IncomingKind.Acknowledged, []);
                case (byte)'-':
                    return new Incoming(IncomingKind.Refused, []);
                default:
                    return null;
            }
        }

        private void Begin()
        {
            _body.Clear();
            _sum = 0;
            _tooLong = false;
            _state = State.Body;
        }

        private void Keep(byte value)
        {
            if (_body.Count == MaximumBody)
            {
                _tooLong = true;
            }
            else
            {
                _body.Add(value);
            }
        }

        /// <summary>Something that no sum equals, if it is no hexadecimal digit.</summary>
        private static int Digit(byte value) => value switch
        {
            >= (byte)'0' and <= (byte)'9' => value - '0',
            >= (byte)'a' and <= (byte)'f' => value - 'a' + 10,
            >= (byte)'A' and <= (byte)'F' => value - 'A' + 10,
            _ => 0x1000,
        };
    }
}
