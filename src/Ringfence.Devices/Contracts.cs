namespace Ringfence.Devices;

/// <summary>A device on the port I/O bus. It sees offsets from its own base, never its address.</summary>
public interface IPortDevice
{
    /// <param name="offset">Bytes from the device's base.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    /// <returns>The value, zero-extended. What nothing answers to reads as all ones.</returns>
    uint ReadPort(ushort offset, int size);

    /// <param name="offset">Bytes from the device's base.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    /// <param name="value">The value, zero-extended from <paramref name="size"/>.</param>
    void WritePort(ushort offset, int size, uint value);
}

/// <summary>A device in guest-physical memory (MMIO). It sees offsets from its own base, never its address.</summary>
public interface IMemoryDevice
{
    /// <param name="offset">Bytes from the device's base.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    ulong ReadMemory(ulong offset, int size);

    /// <param name="offset">Bytes from the device's base.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">The value, zero-extended from <paramref name="size"/>.</param>
    void WriteMemory(ulong offset, int size, ulong value);
}

/// <summary>Guest RAM as devices reach it by themselves (DMA); processors take note of what is written. Thread-safe.</summary>
public interface IGuestMemoryBus
{
    /// <summary>False, with nothing copied, unless the whole range is RAM.</summary>
    bool TryRead(ulong address, Span<byte> destination);

    /// <summary>False, with nothing copied, unless the whole range is RAM.</summary>
    bool TryWrite(ulong address, ReadOnlySpan<byte> source);
}

/// <summary>An interrupt wire from a device to a controller. Thread-safe; setting the level it already has does nothing.</summary>
public interface IInterruptLine
{
    void Set(bool asserted);
}

/// <summary>An interrupt message, as an IOAPIC or an MSI sends it to the local APICs.</summary>
/// <param name="Destination">APIC ID, or logical destination when <paramref name="Logical"/>.</param>
/// <param name="DeliveryMode">0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT (SDM 3A 11.11.2).</param>
public readonly record struct InterruptMessage(byte Vector, byte DeliveryMode, bool Logical, byte Destination, bool LevelTriggered);

/// <summary>Where interrupt controllers send what they have: the processors. Thread-safe.</summary>
public interface IInterruptSink
{
    /// <summary>Delivers a message to the local APICs it names.</summary>
    void Deliver(InterruptMessage message);

    /// <summary>The 8259 pair's INTR output, wired to LINT0 of every processor. While it is high, a processor whose LINT0 takes it
    /// calls back for the vector (the INTA cycle).</summary>
    void SetExternalInterrupt(bool asserted);
}
