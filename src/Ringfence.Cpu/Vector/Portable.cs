using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>What x86 vector instructions do that no portable vector function does, for hosts without them. Right, not fast.</summary>
internal static class Portable
{
    /// <summary>(a * b + rounding) >> shift in 32 bits, the low 16 bits of it.</summary>
    public static Vector128<short> MultiplyShift(Vector128<short> a, Vector128<short> b, int rounding, int shift)
    {
        Vector128<short> result = default;
        for (int i = 0; i < Vector128<short>.Count; i++)
        {
            result = result.WithElement(i, (short)(((a[i] * b[i]) + rounding) >> shift));
        }
        return result;
    }

    public static Vector128<ushort> MultiplyHigh(Vector128<ushort> a, Vector128<ushort> b)
    {
        Vector128<ushort> result = default;
        for (int i = 0; i < Vector128<ushort>.Count; i++)
        {
            result = result.WithElement(i, (ushort)(((uint)a[i] * b[i]) >> 16));
        }
        return result;
    }

    /// <summary>PMADDWD. The sum wraps when all four words are 0x8000.</summary>
    public static Vector128<int> MultiplyAdd(Vector128<short> a, Vector128<short> b)
    {
        Vector128<int> result = default;
        for (int i = 0; i < Vector128<int>.Count; i++)
        {
            result = result.WithElement(i, unchecked((a[2 * i] * b[2 * i]) + (a[(2 * i) + 1] * b[(2 * i) + 1])));
        }
        return result;
    }

    /// <summary>PMADDUBSW.</summary>
    public static Vector128<short> MultiplyAdd(Vector128<byte> a, Vector128<sbyte> b)
    {
        Vector128<short> result = default;
        for (int i = 0; i < Vector128<short>.Count; i++)
        {
            int sum = (a[2 * i] * b[2 * i]) + (a[(2 * i) + 1] * b[(2 * i) + 1]);
            result = result.WithElement(i, (short)Math.Clamp(sum, short.MinValue, short.MaxValue));
        }
        return result;
    }

    public static Vector128<ulong> SumAbsoluteDifferences(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<byte> difference = Vector128.Max(a, b) - Vector128.Min(a, b);
        Vector128<ulong> result = default;
        for (int i = 0; i < 16; i++)
        {
            result = result.WithElement(i >> 3, result[i >> 3] + difference[i]);
        }
        return result;
    }

    /// <summary>A shift of each lane of <paramref name="d"/> by the same lane of <paramref name="counts"/>.</summary>
    public static unsafe Vector128<byte> ShiftEach<T, TShift>(Vector128<byte> d, Vector128<byte> counts)
        where T : unmanaged
        where TShift : struct, IShift
    {
        Vector128<byte> result = default;
        for (int i = 0; i < 16 / sizeof(T); i++)
        {
            ulong count = sizeof(T) == 4 ? counts.AsUInt32()[i] : counts.AsUInt64()[i];
            result = result.As<byte, T>().WithElement(i, TShift.Do(d, count).As<byte, T>()[i]).AsByte();
        }
        return result;
    }

    /// <summary>Eight sums: of the first four bytes of <paramref name="b"/> and four of <paramref name="a"/>, each one further.</summary>
    public static Vector128<ushort> SumsOfAbsoluteDifferences(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<ushort> result = default;
        for (int i = 0; i < Vector128<ushort>.Count; i++)
        {
            int sum = 0;
            for (int j = 0; j < 4; j++)
            {
                sum += Math.Abs(a[i + j] - b[j]);
            }
            result = result.WithElement(i, (ushort)sum);
        }
        return result;
    }

    /// <summary>PHMINPOSUW.</summary>
    public static Vector128<ushort> MinimumPosition(Vector128<ushort> a)
    {
        int position = 0;
        for (int i = 1; i < Vector128<ushort>.Count; i++)
        {
            position = a[i] < a[position] ? i : position;
        }
        return Vector128.CreateScalar(a[position] | ((uint)position << 16)).AsUInt16();
    }

    public static Vector128<ulong> CarrylessMultiply(ulong a, ulong b)
    {
        UInt128 product = 0;
        for (int i = 0; i < 64; i++)
        {
            product ^= ((b >> i) & 1) != 0 ? (UInt128)a << i : 0;
        }
        return Vector128.Create((ulong)product, (ulong)(product >> 64));
    }

    /// <summary>Every byte replaced by what stands in its place in a table of 256.</summary>
    public static Vector128<byte> Map(Vector128<byte> a, byte[] table)
    {
        for (int i = 0; i < Vector128<byte>.Count; i++)
        {
            a = a.WithElement(i, table[a[i]]);
        }
        return a;
    }

    /// <summary>Interleaves lanes of <paramref name="a"/> and <paramref name="b"/> from lane <paramref name="first"/> on.</summary>
    public static Vector128<T> Interleave<T>(Vector128<T> a, Vector128<T> b, int first)
    {
        Vector128<T> result = default;
        for (int i = 0; i < Vector128<T>.Count; i += 2)
        {
            result = result.WithElement(i, a[first + (i / 2)]).WithElement(i + 1, b[first + (i / 2)]);
        }
        return result;
    }

    /// <summary>Lanes of <paramref name="a"/> then of <paramref name="b"/>, every second one, beginning with <paramref name="first"/>.</summary>
    public static Vector128<T> EverySecond<T>(Vector128<T> a, Vector128<T> b, int first)
    {
        Vector128<T> result = default;
        int half = Vector128<T>.Count / 2;
        for (int i = 0; i < half; i++)
        {
            result = result.WithElement(i, a[first + (2 * i)]).WithElement(half + i, b[first + (2 * i)]);
        }
        return result;
    }
}
