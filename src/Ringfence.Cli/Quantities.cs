using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Ringfence.Cli;

/// <summary>Sizes, durations and port numbers as people type them. Each parser returns false for what is none; too large is none.</summary>
internal static class Quantities
{
    /// <summary>Bytes: 512M, 1G, 64MiB, 4096K; a plain number is MiB, as QEMU takes it. Suffixes are powers of 1024, in either case.</summary>
    public static bool TryParseSize(string text, out ulong bytes)
    {
        bytes = 0;
        (string number, string unit) = Split(text);
        int shift = unit.ToUpperInvariant() switch
        {
            "B" => 0,
            "K" or "KB" or "KIB" => 10,
            "" or "M" or "MB" or "MIB" => 20,
            "G" or "GB" or "GIB" => 30,
            "T" or "TB" or "TIB" => 40,
            _ => -1,
        };
        if (shift < 0 || !TryParseDecimal(number, out decimal value) || value * (1UL << shift) > ulong.MaxValue / 2)
        {
            return false;
        }
        decimal exact = value * (1UL << shift);
        bytes = (ulong)exact;
        return exact == bytes;
    }

    /// <summary>60s, 2m, 1.5h, 500ms; a plain number is seconds. At most 1,000 days, and not 0.</summary>
    public static bool TryParseDuration(string text, out TimeSpan duration)
    {
        duration = default;
        (string number, string unit) = Split(text);
        decimal milliseconds = unit switch
        {
            "ms" => 1,
            "" or "s" => 1000,
            "m" or "min" => 60_000,
            "h" => 3_600_000,
            _ => 0,
        };
        if (milliseconds == 0 || !TryParseDecimal(number, out decimal value))
        {
            return false;
        }
        decimal total = value * milliseconds;
        if (total < 1 || total > 1000m * 24 * 3_600_000)
        {
            return false;
        }
        duration = TimeSpan.FromMilliseconds((long)total);
        return true;
    }

    /// <summary>An I/O port, 0 to 65535: decimal, or hexadecimal after 0x.</summary>
    public static bool TryParsePort(string text, out ushort port) =>
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ushort.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out port)
            : ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port);

    /// <summary>HOST:PORT: a name or address, IPv6 addresses in brackets, and a decimal port.</summary>
    public static bool TryParseEndPoint(string text, [NotNullWhen(true)] out IPEndPoint? where)
    {
        where = null;
        int colon = text.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port))
        {
            return false;
        }
        string host = text[..colon];
        bool bracketed = host.StartsWith('[') && host.EndsWith(']');
        if (bracketed != host.Contains(':', StringComparison.Ordinal))
        {
            return false;
        }
        if (IPAddress.TryParse(bracketed ? host[1..^1] : host, out IPAddress? address))
        {
            where = new IPEndPoint(address, port);
            return true;
        }
        try
        {
            IPAddress[] found = Dns.GetHostAddresses(host);
            // What people mean by a name is its IPv4 address, if it has one.
            where = found.Length == 0 ? null : new IPEndPoint(found.FirstOrDefault(a => a.AddressFamily == AddressFamily.InterNetwork, found[0]), port);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            return false;
        }
        return where is not null;
    }

    private static (string Number, string Unit) Split(string text)
    {
        int end = 0;
        while (end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] == '.'))
        {
            end++;
        }
        return (text[..end], text[end..]);
    }

    // Fifteen digits are more than any of these need, and keep the products below from overflowing.
    private static bool TryParseDecimal(string number, out decimal value)
    {
        value = 0;
        return number.Length is > 0 and <= 15
            && decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out value);
    }
}
