using System.Globalization;
using System.Text;

namespace Ringfence.Debugging;

/// <summary>Reads the fields of a packet one after the other. Nothing it is given makes it throw.</summary>
internal ref struct PacketText(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> _rest = rest;

    public readonly bool AtEnd => _rest.IsEmpty;

    public readonly ReadOnlySpan<byte> Rest => _rest;

    /// <summary>Goes past a character, if it is the next one.</summary>
    public bool Take(char expected)
    {
        if (_rest.IsEmpty || _rest[0] != expected)
        {
            return false;
        }
        _rest = _rest[1..];
        return true;
    }

    public bool Take(string expected)
    {
        if (!_rest.StartsWith(Encoding.ASCII.GetBytes(expected)))
        {
            return false;
        }
        _rest = _rest[expected.Length..];
        return true;
    }

    /// <summary>The next character, or 0 at the end.</summary>
    public char Next()
    {
        if (_rest.IsEmpty)
        {
            return '\0';
        }
        char next = (char)_rest[0];
        _rest = _rest[1..];
        return next;
    }

    /// <summary>A hexadecimal number of 1 to 16 digits.</summary>
    public bool Number(out ulong value)
    {
        int digits = 0;
        while (digits < _rest.Length && digits < 16 && char.IsAsciiHexDigit((char)_rest[digits]))
        {
            digits++;
        }
        bool done = ulong.TryParse(_rest[..digits], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
        _rest = done ? _rest[digits..] : _rest;
        return done;
    }

    /// <summary>A number that is a count of bytes in a packet, or of bytes watched.</summary>
    public bool Length(out int value)
    {
        bool done = Number(out ulong number) && number <= int.MaxValue;
        value = done ? (int)number : 0;
        return done;
    }

    /// <summary>A thread: a number, -1 for all, 0 for any, perhaps after the process's.</summary>
    public bool Thread(out int thread)
    {
        if (Take('p'))
        {
            if (!ThreadNumber(out thread))
            {
                return false;
            }
            return !Take('.') || ThreadNumber(out thread);
        }
        return ThreadNumber(out thread);
    }

    /// <summary>What remains, as bytes in hexadecimal.</summary>
    public readonly bool Bytes(out byte[] bytes)
    {
        bytes = new byte[_rest.Length / 2];
        return _rest.Length % 2 == 0 && Convert.FromHexString(Encoding.Latin1.GetString(_rest), bytes, out _, out _) == System.Buffers.OperationStatus.Done;
    }

    private bool ThreadNumber(out int thread)
    {
        if (Take("-1"))
        {
            thread = -1;
            return true;
        }
        return Length(out thread);
    }
}
