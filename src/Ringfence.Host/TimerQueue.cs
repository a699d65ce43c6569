namespace Ringfence.Host;

/// <summary>A place in a <see cref="TimerQueue"/>.</summary>
internal class QueuedTimer(Action expired)
{
    /// <summary>The place in the heap; -1 while disarmed.</summary>
    internal int Index = -1;
    internal long Deadline;
    internal long Order;

    internal Action Expired { get; } = expired;
}

/// <summary>Armed timers, earliest deadline first and in order of arming where deadlines are equal: a binary heap whose
/// members know their place, so that removing one costs what arming it cost. Not thread-safe.</summary>
internal sealed class TimerQueue
{
    private QueuedTimer[] _heap = new QueuedTimer[8];
    private int _count;
    private long _order;

    /// <summary>The timer that expires first, or null.</summary>
    public QueuedTimer? First => _count == 0 ? null : _heap[0];

    /// <summary>Arms the timer, again if it is armed already.</summary>
    public void Add(QueuedTimer timer, long deadline)
    {
        Remove(timer);
        if (_count == _heap.Length)
        {
            Array.Resize(ref _heap, _count * 2);
        }
        timer.Deadline = deadline;
        timer.Order = _order++;
        SiftUp(timer, _count++);
    }

    public void Remove(QueuedTimer timer)
    {
        int index = timer.Index;
        if (index < 0)
        {
            return;
        }
        timer.Index = -1;
        QueuedTimer last = _heap[--_count];
        _heap[_count] = null!;
        if (last != timer)
        {
            SiftUp(last, index);
            SiftDown(last, last.Index);
        }
    }

    private void SiftUp(QueuedTimer timer, int index)
    {
        while (index > 0 && Before(timer, _heap[(index - 1) / 2]))
        {
            Place(_heap[(index - 1) / 2], index);
            index = (index - 1) / 2;
        }
        Place(timer, index);
    }

    private void SiftDown(QueuedTimer timer, int index)
    {
        for (int child = (index * 2) + 1; child < _count; child = (index * 2) + 1)
        {
            if (child + 1 < _count && Before(_heap[child + 1], _heap[child]))
            {
                child++;
            }
            if (!Before(_heap[child], timer))
            {
                break;
            }
            Place(_heap[child], index);
            index = child;
        }
        Place(timer, index);
    }

    private void Place(QueuedTimer timer, int index)
    {
        _heap[index] = timer;
        timer.Index = index;
    }

    private static bool Before(QueuedTimer left, QueuedTimer right) =>
        left.Deadline != right.Deadline ? left.Deadline < right.Deadline : left.Order < right.Order;
}
