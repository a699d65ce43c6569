using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Ringfence.Host;

/// <summary>Random numbers that nobody can foresee, of the host's kernel: getrandom(2). The library's own would load all of OpenSSL for them.</summary>
public static unsafe class HostRandom
{
    private const int Numbers = 32;

    [ThreadStatic]
    private static ulong[]? t_numbers;

    [ThreadStatic]
    private static int t_left;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static ulong Next()
    {
        ulong[] numbers = t_numbers ??= new ulong[Numbers];
        if (t_left == 0)
        {
            Fill(MemoryMarshal.AsBytes(numbers.AsSpan()));
            t_left = Numbers;
        }
        ulong number = numbers[--t_left];
        numbers[t_left] = 0;
        return number;
    }

    private static void Fill(Span<byte> bytes)
    {
        if (!OperatingSystem.IsLinux() || !LibC.TryFillRandom(bytes))
        {
            RandomNumberGenerator.Fill(bytes);
        }
    }
}
