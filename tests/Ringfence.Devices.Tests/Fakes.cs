using System.Text.Json;

namespace Ringfence.Devices.Tests;

internal sealed class FakeSink : IInterruptSink
{
    public List<InterruptMessage> Messages { get; } = [];

    public bool External { get; private set; }

    public void Deliver(InterruptMessage message) => Messages.Add(message);

    public void SetExternalInterrupt(bool asserted)
    {
        // Only changes are told.
        Assert.NotEqual(External, asserted);
        External = asserted;
    }
}

internal sealed class FakeLine : IInterruptLine
{
    public bool Asserted { get; private set; }

    public int Rises { get; private set; }

    public void Set(bool asserted)
    {
        Rises += asserted && !Asserted ? 1 : 0;
        Asserted = asserted;
    }
}

internal static class PortExtensions
{
    public static byte In(this IPortDevice device, ushort offset) => (byte)device.ReadPort(offset, 1);

    public static void Out(this IPortDevice device, ushort offset, byte value) => device.WritePort(offset, 1, value);
}

internal static class Check
{
    /// <summary>States are plain records: equal if they look equal written down.</summary>
    public static void SameState<T>(T expected, T actual) => Assert.Equal(JsonSerializer.Serialize(expected), JsonSerializer.Serialize(actual));

    /// <summary>A state survives being written down.</summary>
    public static T Copy<T>(T state) => JsonSerializer.Deserialize<T>(JsonSerializer.Serialize(state))!;

    /// <summary>Random accesses of every size at and beyond every offset, which must not throw.</summary>
    public static void Fuzz(IPortDevice device, int offsets, int seed, Action? between = null)
    {
        var random = new Random(seed);
        for (int i = 0; i < 30_000; i++)
        {
            ushort offset = (ushort)random.Next(offsets + 2);
            int size = 1 << random.Next(3);
            if (random.Next(3) == 0)
            {
                _ = device.ReadPort(offset, size);
            }
            else
            {
                device.WritePort(offset, size, (uint)random.NextInt64() & (uint.MaxValue >> (32 - (size * 8))));
            }
            between?.Invoke();
        }
    }

    public static void Fuzz(IMemoryDevice device, int length, int seed)
    {
        var random = new Random(seed);
        for (int i = 0; i < 30_000; i++)
        {
            ulong offset = (ulong)random.Next(length);
            int size = 1 << random.Next(4);
            if (random.Next(3) == 0)
            {
                _ = device.ReadMemory(offset, size);
            }
            else
            {
                device.WriteMemory(offset, size, (ulong)random.NextInt64());
            }
        }
    }
}
