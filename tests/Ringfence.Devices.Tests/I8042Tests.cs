using Ringfence.Devices.Input;

namespace Ringfence.Devices.Tests;

public class I8042Tests
{
    private readonly FakeLine _irq1 = new();
    private readonly FakeLine _irq12 = new();
    private readonly I8042 _controller;
    private int _resets;

    public I8042Tests()
    {
        _controller = new I8042(_irq1, _irq12);
        _controller.ResetRequested += () => _resets++;
    }

    private byte[] ReadAll(bool mouse = false)
    {
        var bytes = new List<byte>();
        while ((_controller.In(4) & 1) != 0)
        {
            Assert.Equal(mouse, (_controller.In(4) & 0x20) != 0);
            bytes.Add(_controller.In(0));
        }
        return [.. bytes];
    }

    private byte Command(byte command)
    {
        _controller.Out(4, command);
        return Assert.Single(ReadAll());
    }

    private void Command(byte command, byte data)
    {
        _controller.Out(4, command);
        _controller.Out(0, data);
    }

    [Fact]
    public void LinuxProbesTheController()
    {
        Assert.Empty(ReadAll());
        byte control = Command(0x20);
        // i8042_controller_init: disable and flush; i8042_check_aux: loop, test, disable and enable.
        Command(0x60, (byte)((control | 0x30) & ~0x03));
        Assert.Equal(0x55, Command(0xAA));
        Assert.Equal(0x74, Command(0x20));
        Command(0xD3, 0x5A);
        Assert.Equal([0x5A], ReadAll(mouse: true));
        Assert.Equal(0x00, Command(0xA9));
        _controller.Out(4, 0xA7);
        Assert.NotEqual(0, Command(0x20) & 0x20);
        _controller.Out(4, 0xA8);
        Assert.Equal(0, Command(0x20) & 0x20);
        Assert.Equal(0x00, Command(0xAB));
        // The interrupt of the loop: IRQ12.
        Command(0x60, 0x47);
        int rises = _irq12.Rises;
        Command(0xD3, 0xA5);
        Assert.Equal(1, _irq12.Rises - rises);
        Assert.Equal([0xA5], ReadAll(mouse: true));
        Assert.False(_irq12.Asserted);
    }

    [Fact]
    public void TheKeyboardAnswersAtkbd()
    {
        Command(0x60, 0x45);
        void Keyboard(byte command, params byte[] answer)
        {
            int rises = _irq1.Rises;
            _controller.Out(0, command);
            Assert.True(_irq1.Asserted);
            Assert.Equal(answer, ReadAll());
            Assert.Equal(answer.Length, _irq1.Rises - rises);
            Assert.False(_irq1.Asserted);
        }
        Keyboard(0xFF, 0xFA, 0xAA);
        Keyboard(0xF2, 0xFA, 0xAB, 0x83);
        Keyboard(0xED, 0xFA);
        Keyboard(0x02, 0xFA);
        Keyboard(0xF3, 0xFA);
        Keyboard(0x00, 0xFA);
        Keyboard(0xF0, 0xFA);
        Keyboard(0x00, 0xFA, 0x02);
        Keyboard(0xF4, 0xFA);
        Keyboard(0xEE, 0xEE);
        Keyboard(0x01, 0xFE);
        Assert.Equal(2, _controller.Press([0x1E, 0x9E]));
        Assert.Equal([0x1E, 0x9E], ReadAll());
        Assert.Equal(64, _controller.Press(new byte[100]));
    }

    [Fact]
    public void TheMouseAnswersThroughItsPrefix()
    {
        Command(0xD4, 0xFF);
        Assert.Equal([0xFA, 0xAA, 0x00], ReadAll(mouse: true));
        Command(0xD4, 0xF2);
        Assert.Equal([0xFA, 0x00], ReadAll(mouse: true));
        Command(0xD4, 0xF3);
        Command(0xD4, 0x64);
        Assert.Equal([0xFA, 0xFA], ReadAll(mouse: true));
    }

    [Fact]
    public void ADisabledKeyboardIsHeldBack()
    {
        _controller.Out(4, 0xAD);
        _controller.Press([0x1E]);
        Assert.Equal(0, _controller.In(4) & 1);
        _controller.Out(4, 0xAE);
        Assert.Equal([0x1E], ReadAll());
    }

    [Fact]
    public void ResetsAndTheA20Gate()
    {
        _controller.Out(4, 0xFE);
        Assert.Equal(1, _resets);
        _controller.Out(4, 0xFF);
        Assert.Equal(1, _resets);
        Assert.True(_controller.A20);
        Command(0xD1, 0xDD);
        Assert.False(_controller.A20);
        Assert.Equal(0xDD, Command(0xD0));
        _controller.Port92.Out(0, 0x02);
        Assert.True(_controller.A20);
        Assert.Equal(0x02, _controller.Port92.In(0));
        Assert.Equal(1, _resets);
        _controller.Port92.Out(0, 0x03);
        Assert.Equal(2, _resets);
        Command(0xD1, 0xDE);
        Assert.Equal(3, _resets);
    }

    [Fact]
    public void StateRoundTrip()
    {
        Command(0x60, 0x47);
        Command(0xD4, 0xFF);
        Command(0x61, 0x99);
        _controller.Out(0, 0xED);
        _controller.Press([1, 2, 3]);
        _controller.Out(4, 0xD1);
        I8042State state = Check.Copy(_controller.Save());
        var irq12 = new FakeLine();
        var other = new I8042(new FakeLine(), irq12);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.True(irq12.Asserted);
        Assert.Equal(0xFA, other.In(0));
        Assert.Throws<ArgumentException>(() => other.Restore(new I8042State()));
    }

    [Fact]
    public void Fuzz()
    {
        Check.Fuzz(_controller, 5, 1);
        Check.Fuzz(_controller.Port92, 1, 2);
    }
}
