using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Paravirtual;

/// <summary>A <see cref="Guest"/> in 64-bit mode with paravirtual interfaces, and a second processor that does not run.</summary>
internal sealed class ParavirtualGuest : IDisposable
{
    public ParavirtualGuest(bool kvmClock = false, bool hyperV = false, GuestMode mode = GuestMode.Long)
    {
        Guest = new Guest(mode, CpuModel.Max with { OffersKvmClock = kvmClock, OffersHyperV = hyperV });
        First = Guest.Processor;
        Second = new Processor(Guest.Memory, new TestBus(), Guest.Clock, First.Model, 1, static () => { }, First.Shared, EngineUnderTest.Translators, First.Platform);
        First.Apic.EnterVirtualWire();
        Second.Apic.EnterVirtualWire();
    }

    public Guest Guest { get; }

    public Processor First { get; }

    public Processor Second { get; }

    public ulong Read(uint msr, Processor? processor = null)
    {
        Assert.True((processor ?? First).Msrs.Read(msr, out ulong value), $"{msr:x} cannot be read");
        return value;
    }

    public void Write(uint msr, ulong value, Processor? processor = null) =>
        Assert.True((processor ?? First).Msrs.Write(msr, value), $"{msr:x} cannot be {value:x}");

    public void Refuses(uint msr, ulong value)
    {
        Assert.False(First.Msrs.Write(msr, value), $"{msr:x} can be {value:x}");
        First.ForgetFault();
    }

    /// <summary>A vector that is requested of a local APIC.</summary>
    public static bool IsRequested(Processor processor, byte vector) => (processor.Apic.Save().Request[vector >> 5] & (1u << (vector & 31))) != 0;

    public static bool IsInService(Processor processor, byte vector) => (processor.Apic.Save().Service[vector >> 5] & (1u << (vector & 31))) != 0;

    public void Dispose()
    {
        Second.Dispose();
        Guest.Dispose();
    }
}
