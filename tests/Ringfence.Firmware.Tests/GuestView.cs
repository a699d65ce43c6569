using System.Runtime.CompilerServices;
using System.Text;
using Ringfence.Host;

namespace Ringfence.Firmware.Tests;

/// <summary>Guest memory as tests read it.</summary>
internal static class GuestView
{
    public static T Read<T>(this GuestMemory memory, ulong address)
        where T : unmanaged
    {
        byte[] bytes = memory.Bytes(address, Unsafe.SizeOf<T>());
        return Unsafe.ReadUnaligned<T>(ref bytes[0]);
    }

    public static byte[] Bytes(this GuestMemory memory, ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(memory.TryRead(address, bytes), $"0x{address:x} is not guest memory");
        return bytes;
    }

    public static string Text(this GuestMemory memory, ulong address)
    {
        var text = new StringBuilder();
        for (; memory.Read<byte>(address) is not 0 and byte b; address++)
        {
            text.Append((char)b);
        }
        return text.ToString();
    }

    /// <summary>Vectors lead to an IRET in the BIOS area, those of the interrupt controllers by way of an end of interrupt.</summary>
    public static void ExpectVectorsOfABios(this GuestMemory memory)
    {
        for (uint vector = 0; vector < 256; vector++)
        {
            uint pointer = memory.Read<uint>(vector * 4);
            ulong handler = ((pointer >> 16) << 4) + (pointer & 0xFFFF);
            byte[] expected = vector switch
            {
                >= 0x08 and <= 0x0F => [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF],
                >= 0x70 and <= 0x77 => [0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF],
                _ => [0xCF],
            };
            Assert.InRange(handler, BoardLayout.BiosBase, BoardLayout.BiosEnd);
            Assert.Equal(expected, memory.Bytes(handler, expected.Length));
        }
    }

    /// <summary>Loading must fail with a message of one line that names the kernel and contains <paramref name="reason"/>.</summary>
    public static void Refuses(byte[] image, string reason, ulong megabytes = 64, string commandLine = "", params GuestModule[] modules)
    {
        using var memory = new GuestMemory(megabytes << 20);
        GuestLoadException error = Assert.Throws<GuestLoadException>(() => TestImages.Load(memory, image, commandLine, modules));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Contains(": ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    /// <summary>No prefix of the image may bring down anything but a <see cref="GuestLoadException"/>; those up to <paramref name="mustFail"/> must.</summary>
    public static void CheckTruncations(byte[] image, int mustFail)
    {
        using var memory = new GuestMemory(64 << 20);
        for (int length = 0; length < image.Length; length++)
        {
            if (length <= mustFail)
            {
                Assert.Throws<GuestLoadException>(() => TestImages.Load(memory, image[..length]));
                continue;
            }
            try
            {
                TestImages.Load(memory, image[..length]);
            }
            catch (GuestLoadException)
            {
            }
        }
    }
}
