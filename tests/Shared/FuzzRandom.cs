using System.Numerics;

namespace Ringfence.Tests;

/// <summary>A quick source of random numbers (xorshift64*), the same for the same seed everywhere.</summary>
internal sealed class FuzzRandom(ulong seed)
{
    private ulong _state = Scramble(seed) | 1;

    public ulong Next()
    {
        _state ^= _state >> 12;
        _state ^= _state << 25;
        _state ^= _state >> 27;
        return _state * 0x2545_F491_4F6C_DD1D;
    }

    public int Next(int below) => (int)(((Next() >> 32) * (ulong)below) >> 32);

    /// <summary>True once in <paramref name="often"/> times.</summary>
    public bool Once(int often) => Next(often) == 0;

    public T Of<T>(ReadOnlySpan<T> choices) => choices[Next(choices.Length)];

    public void Fill(Span<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)(Next() >> 56);
        }
    }

    private static ulong Scramble(ulong value)
    {
        value = (value + 0x9E37_79B9_7F4A_7C15) * 0xBF58_476D_1CE4_E5B9;
        return BitOperations.RotateLeft(value, 29) * 0x94D0_49BB_1331_11EB;
    }
}
